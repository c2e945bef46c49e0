// A disk or mount that hangs must not hang the process: a call into the kernel can not be taken back,
// but who waits for it can be told. Every call has its patience, and a medium that does not answer a
// probe is not asked any more until it does again: a circuit breaker.

import { constants } from 'node:fs'
import { ImageError, asError, isImageError } from '@backing-image/core'
import type { Disk } from './disk.ts'
import { type Call, type Kind, Slots, usualSlots } from './slots.ts'

export interface GuardOptions {
  /** How many calls may be in the kernel at a time; libuv's threads less four unless given. */
  slots?: number
  /** How long a `look` or a `read` may take. */
  readTimeoutMs?: number
  /** How long everything else may: a slow disk under load is no outage. */
  writeTimeoutMs?: number
  /** A call that is under way for so long is a reason for a probe. */
  suspectAfterMs?: number
  /** How long a probe may take before the medium is said to hang. */
  probeTimeoutMs?: number
  /** Between two probes of a medium that hangs. */
  retryAfterMs?: number
}

/** Since when a medium has not answered, and what to tell whoever asks. */
export interface Outage {
  since: Date
  message: string
}

const usual: Required<Omit<GuardOptions, 'slots'>> = {
  readTimeoutMs: 8_000,
  writeTimeoutMs: 60_000,
  suspectAfterMs: 3_000,
  probeTimeoutMs: 4_000,
  retryAfterMs: 1_000,
}

/** Guards that have calls under way. */
const busy = new Set<Guard>()

/**
 * Whether calls of this process hang in the kernel. Such a process can not end in the usual way:
 * Node.js waits for libuv's threads, and they wait for the medium.
 */
export function hasHungCalls(): boolean {
  return [...busy].some((guard) => guard.hasHungCalls())
}

/** Stands before one medium; `path`, a folder on it, is what probes ask for. */
export class Guard {
  readonly #disk: Disk
  readonly #path: string
  readonly #times: typeof usual
  readonly #tickMs: number
  readonly #slots: Slots
  readonly #listeners = new Set<() => void>()
  #timer: NodeJS.Timeout | undefined
  #clockMs = 0
  #tickedAtMs = 0
  #probe: { atMs: number; since: number } | undefined
  #probedAtMs = -Infinity
  #outage: (Outage & { cause: unknown }) | undefined
  #usable: { promise: Promise<void>; resolve: () => void } | undefined

  /** `disk` gives its failures as ImageErrors. */
  constructor(disk: Disk, path: string, options: GuardOptions = {}) {
    const { slots = usualSlots(), ...times } = options
    this.#disk = disk
    this.#path = path
    this.#times = { ...usual, ...times }
    this.#tickMs = Math.max(1, Math.min(250, this.#times.suspectAfterMs / 8))
    this.#slots = new Slots(slots, (call) => {
      call.atMs = this.#clockMs
      call.since = Date.now()
    })
  }

  /** Undefined while the medium is not known to hang. */
  get outage(): Outage | undefined {
    return this.#outage
  }

  /** Calls back whenever an outage has begun or ended; returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Resolves when the medium is not known to hang. */
  async usable(): Promise<void> {
    await this.#usable?.promise
  }

  /**
   * Does `work` when it is its turn, and settles as it does; or rejects with `unavailable` when it
   * takes too long or the medium hangs. Work that was left so keeps its place until it returns; what
   * it brings then is given to `late`.
   */
  run<T>(
    kind: Kind,
    what: { verb: string; path: string },
    work: () => Promise<T>,
    late?: (value: T) => void,
  ): Promise<T> {
    if (this.#outage) return Promise.reject(this.#unavailable(this.#outage))
    return new Promise((resolve, reject) => {
      const call: Call = {
        kind,
        verb: what.verb,
        path: what.path,
        begin: () => started(work).then(onValue, onError),
        leave: reject,
        order: 0,
        atMs: 0,
        since: 0,
        isLeft: false,
      }
      const onValue = (value: T): void => {
        if (call.isLeft) late?.(value)
        else resolve(value)
        this.#end(call)
      }
      const onError = (error: unknown): void => {
        if (!call.isLeft) reject(error)
        this.#end(call)
        // A `soft` mount fails call after call, each after some time.
        if (isImageError(error, 'unavailable') && this.#isSlow(call.atMs)) {
          this.#startProbe(this.#times.retryAfterMs)
        }
      }
      this.#watch()
      this.#slots.enter(call, this.#path)
    })
  }

  /** Whether calls hang here, so that a thread of this process can not end. */
  hasHungCalls(): boolean {
    const isHung = ({ since, isLeft }: { since: number; isLeft?: boolean }): boolean =>
      isLeft === true || Date.now() - since > this.#times.suspectAfterMs
    return [...this.#slots.running, ...(this.#probe ? [this.#probe] : [])].some(isHung)
  }

  #end(call: Call): void {
    this.#slots.end(call)
    if (this.#slots.running.size === 0 && !this.#probe) busy.delete(this)
  }

  /** Looks at what is under way again and again, as long as there is anything. */
  #watch(): void {
    busy.add(this)
    if (this.#timer) return
    this.#tickedAtMs = performance.now()
    this.#timer = setInterval(() => this.#tick(), this.#tickMs)
    this.#timer.unref()
  }

  #tick(): void {
    const nowMs = performance.now()
    // Of a time in which this process did not run, nothing can be said of the medium.
    this.#clockMs += Math.min(nowMs - this.#tickedAtMs, 2 * this.#tickMs)
    this.#tickedAtMs = nowMs
    const waiting = this.#slots.waiting()
    for (const call of waiting) {
      if (this.#clockMs - call.atMs > this.#patienceMs(call)) this.#leave(call, this.#overdue(call))
    }
    const { suspectAfterMs, probeTimeoutMs, retryAfterMs } = this.#times
    const isSuspect = waiting.some((call) => this.#clockMs - call.atMs > suspectAfterMs)
    if (this.#outage) this.#startProbe(retryAfterMs)
    else if (this.#slots.isClogged()) this.#trip()
    else if (this.#probe && this.#clockMs - this.#probe.atMs > probeTimeoutMs) this.#trip()
    else if (isSuspect) this.#startProbe(suspectAfterMs)
    else if (waiting.length === 0 && !this.#probe) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
  }

  #patienceMs({ kind }: Call): number {
    const isRead = kind === 'look' || kind === 'read'
    return isRead ? this.#times.readTimeoutMs : this.#times.writeTimeoutMs
  }

  #leave(call: Call, error: ImageError): void {
    call.isLeft = true
    call.leave(error)
  }

  #overdue(call: Call): ImageError {
    const seconds = this.#patienceMs(call) / 1000
    return new ImageError(
      'unavailable',
      `${call.verb} ${call.path} was not done after ${seconds} s. Try again; look at the medium.`,
    )
  }

  #isSlow(sinceMs: number): boolean {
    return this.#clockMs - sinceMs >= this.#times.retryAfterMs
  }

  /** Never two at a time: what hangs would pile up. */
  #startProbe(pauseMs: number): void {
    if (this.#probe || this.#clockMs - this.#probedAtMs < pauseMs) return
    this.#watch()
    this.#probe = { atMs: this.#clockMs, since: Date.now() }
    void this.#ask().then((failure) => {
      const { atMs, since } = this.#probe ?? { atMs: 0, since: 0 }
      this.#probe = undefined
      this.#probedAtMs = this.#clockMs
      // What fails at once needs no guard: each call tells its own failure.
      if (failure !== undefined && this.#isSlow(atMs)) this.#trip(failure, since)
      else if (failure === undefined && !this.#slots.isClogged()) this.#recover()
      if (this.#slots.running.size === 0) busy.delete(this)
    })
  }

  /** What no cache can answer. Gives why the medium is away; undefined when it has answered. */
  async #ask(): Promise<unknown> {
    try {
      await this.#disk.statfs(this.#path)
      const flags = constants.O_RDONLY | constants.O_DIRECTORY
      const folder = await this.#disk.open(this.#path, flags)
      await folder.close()
      return undefined
    } catch (error) {
      return isImageError(error, 'unavailable') ? error : undefined
    }
  }

  #trip(cause?: unknown, probedSince: number = this.#probe?.since ?? Date.now()): void {
    if (this.#outage) return
    const waiting = this.#slots.waiting()
    const since = new Date(Math.min(probedSince, ...waiting.map((call) => call.since)))
    const why = cause instanceof Error ? `: ${cause.message}` : '.'
    const message =
      `${this.#path} has not answered since ${since.toISOString()}${why} Try again later; it is asked ` +
      'again every second. Look at the disk, or at the server that it is on.'
    const outage = { since, message, cause }
    this.#outage = outage
    let resolve = (): void => {}
    this.#usable = { promise: new Promise((done) => (resolve = done)), resolve: () => resolve() }
    for (const call of [...waiting, ...this.#slots.takeQueued()]) {
      this.#leave(call, this.#unavailable(outage))
    }
    this.#tell()
  }

  #recover(): void {
    if (!this.#outage) return
    this.#outage = undefined
    this.#usable?.resolve()
    this.#usable = undefined
    this.#tell()
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  #unavailable({ message, cause }: Outage & { cause: unknown }): ImageError {
    return new ImageError('unavailable', message, { cause })
  }
}

/** Also what throws before it has a promise rejects. */
function started<T>(work: () => Promise<T>): Promise<T> {
  try {
    return work()
  } catch (error) {
    return Promise.reject(asError(error))
  }
}
