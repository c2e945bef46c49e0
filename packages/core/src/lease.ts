// Whether the work of another process still has a living owner: without clocks, by reading its beat
// again and again, or at once where the store can prove that the process is dead.

import type { Job } from './claim.ts'
import { ingestId } from './layout.ts'

const readsLeast = 4
const silenceLeastMs = 30_000
/** A look that took longer says nothing about the time before it. */
export const slowReadMs = 5000

/**
 * Counters of others that are read again and again. One is silent when it has been read unchanged at
 * least four times over at least 30 s of this process's own monotonic clock.
 */
export class Silence {
  readonly #seen = new Map<string, { counter: string; reads: number; sinceMs: number }>()

  /** To be told of each look at a counter, whose text changes whenever it counts. */
  isSilent(id: string, counter: string, nowMs: number): boolean {
    const seen = this.#seen.get(id)
    if (seen?.counter !== counter) {
      this.#seen.set(id, { counter, reads: 1, sinceMs: nowMs })
      return false
    }
    seen.reads += 1
    return seen.reads >= readsLeast && nowMs - seen.sinceMs >= silenceLeastMs
  }

  /** Forgets all but these; without any, all. */
  keepOnly(ids: ReadonlySet<string> = new Set()): void {
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id)
  }
}

export interface LeaseOptions {
  /** Proof of death, where the store has one. */
  isGone?: (owner: string) => Promise<boolean>
  /** A monotonic clock, in milliseconds. */
  now?: () => number
}

/** Watches the leases of others. A lease has run out when the beat of its owner is silent. */
export class Leases {
  readonly #silence = new Silence()
  readonly #options: LeaseOptions
  readonly #now: () => number

  constructor(options: LeaseOptions = {}) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** Looks at all jobs of others and gives those that nobody works on any more. */
  async expired(list: () => Promise<Job[]>): Promise<Job[]> {
    const askedAtMs = this.#now()
    const jobs = await list().catch((error: unknown) => {
      this.#silence.keepOnly()
      throw error
    })
    const readAtMs = this.#now()
    if (readAtMs - askedAtMs > slowReadMs) this.#silence.keepOnly()
    const over: Job[] = []
    const ids = new Set<string>()
    for (const job of jobs) {
      if (job.mine || job.end) continue
      const id = ingestId(job.name, job.uuid)
      ids.add(id)
      const isReleased = job.beat.released === true
      if (
        isReleased ||
        this.#silence.isSilent(id, `${job.epoch} ${job.beat.count}`, readAtMs) ||
        (await this.#options.isGone?.(job.claim.owner))
      ) {
        over.push(job)
      }
    }
    this.#silence.keepOnly(ids)
    return over
  }
}
