// When scrubs begin by themselves, and how often the one of another process is looked at.

import type { Rounds } from '../rounds.ts'
import type { ScrubOptions, Scrubs } from './scrubs.ts'
import { type Stored, startOf } from './shelf.ts'

/** A few times in the time that tells whether a process is dead. */
const watchIntervalMs = 8000
const dueIntervalMaxMs = 600_000
/** Of one that did not get to its end the next is not a whole interval away. */
const retryAfterMs = 3_600_000

/** Looks after the scrubs of a store from now on. */
export function tendScrubs(scrubs: Scrubs, rounds: Rounds, options?: ScrubOptions): void {
  rounds.every(watchIntervalMs, () => scrubs.watch())
  if (options?.intervalMs === undefined) return
  const lookMs = Math.min(options.intervalMs / 10, dueIntervalMaxMs)
  rounds.every(lookMs, () => scrubs.startWhenDue())
}

/** Whether the newest scrub began so long ago, by the store's own clock, that the next is to begin. */
export function isDue(newest: Stored, intervalMs: number, nowNs: bigint): boolean {
  const isFailed = newest.report.state === 'failed'
  const waitMs = isFailed ? Math.min(intervalMs, retryAfterMs) : intervalMs
  return nowNs - startOf(newest) >= BigInt(waitMs) * 1_000_000n
}
