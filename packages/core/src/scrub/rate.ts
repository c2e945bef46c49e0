// How fast a scrub may read: so many bytes per second, spread evenly, so that those who read for a
// reason do not notice it.

import { setTimeout as delay } from 'node:timers/promises'
import type { Bytes } from '../backend.ts'

/** What was not used for so long is not made up for: no burst follows a pause. */
const catchUpMs = 100

export interface RateOptions {
  /** A monotonic clock, in milliseconds. */
  now?: () => number
  sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

/** Lets at most so many bytes pass in a second, whoever asks. */
export class Rate {
  readonly #bytesPerSecond: number
  readonly #now: () => number
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>
  /** When what was let pass so far would have passed at the full rate. */
  #paidUntilMs = -Infinity

  constructor(bytesPerSecond: number, options: RateOptions = {}) {
    this.#bytesPerSecond = bytesPerSecond
    this.#now = options.now ?? (() => performance.now())
    this.#sleep = options.sleep ?? (async (ms, signal) => await delay(ms, undefined, { signal }))
  }

  /** The bytes at the rate; each chunk is held until its time has come. Holes count as what they read. */
  async *pace(bytes: Bytes, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of bytes) {
      await this.#pay(chunk.length, signal)
      yield chunk
    }
  }

  async #pay(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#now()
    const fromMs = Math.max(this.#paidUntilMs, nowMs - catchUpMs)
    this.#paidUntilMs = fromMs + (bytes / this.#bytesPerSecond) * 1000
    const waitMs = this.#paidUntilMs - nowMs
    // A timer of less than a millisecond takes one.
    if (waitMs < 1) return
    try {
      await this.#sleep(waitMs, signal)
    } finally {
      signal.throwIfAborted()
    }
  }
}
