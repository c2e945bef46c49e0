// Which of several images, ready, failed or in flight, comes before which.

import type { Job } from './claim.ts'
import type { Image } from './image.ts'

/** The newest job of each name: work in flight before what failed. */
export function newestJobs(jobs: readonly Job[]): Job[] {
  const newest = new Map<string, Job>()
  for (const job of jobs) {
    const other = newest.get(job.name)
    if (!other || isNewer(job, other)) newest.set(job.name, job)
  }
  return [...newest.values()]
}

function isNewer(job: Job, other: Job): boolean {
  if (!job.end !== !other.end) return !job.end
  return compareText(job.claim.createdAt, other.claim.createdAt) > 0
}

/**
 * What is published in its own order, which the sequence gives, and each failure before the first
 * that was published before it failed.
 */
export function merged(published: readonly Image[], failed: readonly Image[]): Image[] {
  const all: Image[] = []
  let next = 0
  for (const image of published) {
    for (; (failed[next]?.updatedAt ?? '') > image.updatedAt; next++)
      all.push(...failed.slice(next, next + 1))
    all.push(image)
  }
  return [...all, ...failed.slice(next)]
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b)
}
