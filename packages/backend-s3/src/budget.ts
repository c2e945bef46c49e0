// The memory that parts wait in: one budget for all puts of the process. Every put always has one
// buffer of its own, so that slow clients neither starve others nor wait for each other; each
// further one is taken from what all share, first come first served.

import { Buffer } from 'node:buffer'

const idleMs = 10_000

/** Buffers that nobody uses, kept for the next who wants one of that size. */
class Pool {
  readonly #bytesMax: number
  #idle: { buffer: Buffer; sinceMs: number }[] = []
  #idleBytes = 0
  #timer: NodeJS.Timeout | undefined

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get idleBytes(): number {
    return this.#idleBytes
  }

  take(bytes: number): Buffer {
    // The one that was used last, so that those which are too many grow old.
    const at = this.#idle.findLastIndex(({ buffer }) => buffer.length === bytes)
    const [found] = at < 0 ? [] : this.#idle.splice(at, 1)
    if (!found) return Buffer.allocUnsafeSlow(bytes)
    this.#idleBytes -= bytes
    return found.buffer
  }

  give(buffer: Buffer): void {
    if (this.#idleBytes + buffer.length > this.#bytesMax) return
    this.#idle.push({ buffer, sinceMs: performance.now() })
    this.#idleBytes += buffer.length
    this.#timer ??= setInterval(() => this.#dropOld(), idleMs).unref()
  }

  #dropOld(): void {
    const oldestMs = performance.now() - idleMs
    this.#idle = this.#idle.filter(({ sinceMs }) => sinceMs > oldestMs)
    this.#idleBytes = this.#idle.reduce((sum, { buffer }) => sum + buffer.length, 0)
    if (this.#idle.length > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

interface Waiter {
  share: Share
  grant: (buffer: Buffer) => void
}

/** What all puts of a process share. One for a process, however many buckets it writes to. */
export class Budget {
  readonly #totalBytes: number
  readonly #pool: Pool
  #usedBytes = 0
  #waiters: Waiter[] = []

  /**
   * `totalBytes` is what puts may hold together beyond the one buffer that each has anyway. As much as
   * one put of usual parts can use: with more, eight puts at once were no faster.
   */
  constructor(totalBytes: number = 24 * 1024 * 1024) {
    this.#totalBytes = totalBytes
    this.#pool = new Pool(totalBytes)
  }

  /** Memory that is kept for later, in bytes. */
  get idleBytes(): number {
    return this.#pool.idleBytes
  }

  /** Memory in use beyond the first buffer of each put, in bytes. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  /** The buffers of one put: all of one size, at most `countMax` at a time. */
  share(bufferBytes: number, countMax: number): Share {
    return new Share(this, bufferBytes, countMax)
  }

  /** For Share alone. Resolves with a buffer; rejects with the reason of `signal`. */
  async take(share: Share, signal: AbortSignal): Promise<Buffer> {
    signal.throwIfAborted()
    if (share.held === 0) return this.#grant(share)
    return await new Promise<Buffer>((resolve, reject) => {
      const waiter: Waiter = {
        share,
        grant: (buffer) => {
          signal.removeEventListener('abort', leave)
          resolve(buffer)
        },
      }
      const leave = (): void => {
        this.#waiters = this.#waiters.filter((each) => each !== waiter)
        reject(signal.reason)
        // Who stood behind it may fit.
        this.#serve()
      }
      signal.addEventListener('abort', leave, { once: true })
      this.#waiters.push(waiter)
      this.#serve()
    })
  }

  /** For Share alone. Nothing may read the buffer or write to it any more. */
  give(share: Share, buffer: Buffer): void {
    share.held -= 1
    if (share.held > 0) this.#usedBytes -= share.bufferBytes
    this.#pool.give(buffer)
    this.#serve()
  }

  #isFree(share: Share): boolean {
    return share.held < share.countMax && this.#usedBytes + share.bufferBytes <= this.#totalBytes
  }

  #grant(share: Share): Buffer {
    if (share.held > 0) this.#usedBytes += share.bufferBytes
    share.held += 1
    return this.#pool.take(share.bufferBytes)
  }

  #serve(): void {
    const left: Waiter[] = []
    let isFull = false
    for (const waiter of this.#waiters) {
      const { share } = waiter
      if (share.held === 0 || (!isFull && this.#isFree(share))) {
        waiter.grant(this.#grant(share))
        continue
      }
      // Who waits for its own parts holds up nobody; who waits for memory comes before the rest.
      if (share.held < share.countMax) isFull = true
      left.push(waiter)
    }
    this.#waiters = left
  }
}

/** The buffers of one put. */
export class Share {
  readonly bufferBytes: number
  readonly countMax: number
  /** How many are taken and not given back; kept by the budget. */
  held = 0
  readonly #budget: Budget

  constructor(budget: Budget, bufferBytes: number, countMax: number) {
    this.#budget = budget
    this.bufferBytes = bufferBytes
    this.countMax = countMax
  }

  /** Waits until there is one, in line; rejects with the reason of `signal`. One call at a time. */
  async take(signal: AbortSignal): Promise<Buffer> {
    return await this.#budget.take(this, signal)
  }

  /** Gives one back, when nothing uses it any more. */
  give(buffer: Buffer): void {
    this.#budget.give(this, buffer)
  }
}
