// Which of several images, ready, failed or in flight, comes before which.

import type { Job } from './claim.ts'
import { type Image, imageOfJob } from './image.ts'

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

/** All of one name, newest first: work in flight, then what is published or has failed. */
export function newestFirst(jobs: readonly Job[], published: readonly Image[]): Image[] {
  const inFlight = jobs.filter((job) => !job.end).map((job) => imageOfJob(job))
  inFlight.sort((a, b) => compareText(b.createdAt, a.createdAt))
  // By the store's own clock, which tells two of one moment apart.
  const failed = jobs
    .filter((job) => job.end)
    .toSorted((a, b) => ((a.endedAtNs ?? 0n) > (b.endedAtNs ?? 0n) ? -1 : 1))
    .map((job) => imageOfJob(job))
  return [...inFlight, ...merged(published, failed)]
}

/**
 * What is published in its own order, which the sequence gives, and each failure before the first
 * that was published before it failed.
 */
function merged(published: readonly Image[], failed: readonly Image[]): Image[] {
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
