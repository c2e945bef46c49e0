// Whether the storage works: a canary object is written, read and removed again and again, and /ready
// tells the last result from memory, so that a hung disk never hangs the question.

import {
  type Backend,
  type Finding,
  type ImageStore,
  asError,
  hasOwners,
  hasPresign,
  hasProbe,
  hasSpace,
  hasUnfinished,
} from '@backing-image/core'

const usualIntervalMs = 15_000
/** While it does not work, and the least between two looks. */
const usualTroubleIntervalMs = 2_000
/** A look that takes longer than a store needs to see that its medium hangs has failed. */
const usualTimeoutMs = 10_000

/** Optional power of a backend: it knows when its medium does not answer, and when it does again. */
export interface Outages {
  readonly outage: { since: Date; message: string } | undefined
  /** Calls back whenever an outage has begun or ended; returns what ends that. */
  onOutage(listener: () => void): () => void
}

export function hasOutages(backend: Backend): backend is Backend & Outages {
  return 'outage' in backend && 'onOutage' in backend
}

export interface HealthOptions {
  store: Pick<ImageStore, 'check'>
  backend: Backend
  /** Between two looks while all is well. */
  intervalMs?: number
  /** Called whenever the status has changed. */
  onChange?: (report: HealthReport) => void
}

export interface HealthReport {
  status: 'ok' | 'unavailable'
  backend: string
  capabilities: string[]
  /** What was found when the store was opened. */
  findings: readonly Finding[]
  /** False where nothing may be written to the store; a finding tells why. */
  writable: boolean
  /** When the last look began, ISO 8601; null before the first. */
  lastCheckAt: string | null
  /** How long it took; null while it has not ended. */
  lastCheckMs: number | null
  /** What is wrong, and since when; empty when nothing is. */
  message: string
}

const notLooked = 'The storage has not been looked at yet.'

export class Health {
  readonly #options: HealthOptions
  readonly #intervalMs: number
  readonly #troubleIntervalMs: number
  readonly #timeoutMs: number
  #timer: NodeJS.Timeout | undefined
  #timeout: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #isSuspected = false
  #startedAt: Date | undefined
  #startedAtMs = -Infinity
  #tookMs: number | null = null
  #message = notLooked
  /** When it was first found not to work. */
  #troubleAt: Date | undefined
  #forget: (() => void) | undefined
  #isStopping = false

  constructor(options: HealthOptions) {
    this.#options = options
    this.#intervalMs = options.intervalMs ?? usualIntervalMs
    this.#troubleIntervalMs = Math.min(usualTroubleIntervalMs, this.#intervalMs)
    this.#timeoutMs = Math.min(usualTimeoutMs, this.#intervalMs)
  }

  /** Begins to look; resolves when the first look has ended or taken too long. */
  async start(): Promise<void> {
    const { backend } = this.#options
    if (hasOutages(backend)) {
      this.#forget = backend.onOutage(() => {
        if (backend.outage) this.#tell(backend.outage.message)
        else this.#look()
      })
    }
    await new Promise<void>((resolve) => this.#look(resolve))
  }

  /** From now on the answer is that the server stops: no new work should come here. */
  stop(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#timeout)
    this.#forget?.()
    this.#isStopping = true
  }

  /**
   * A request has met storage that does not work: looks at once, or as soon as the look that is under
   * way has ended. However often it is called, looks are some time apart.
   */
  suspect(): void {
    // While it does not work it is looked at often enough.
    if (this.#message === '') this.#isSuspected = true
    if (this.#isSuspected && !this.#running) this.#plan()
  }

  report(): HealthReport {
    const { backend } = this.#options
    const message = this.#isStopping ? 'The server is stopping.' : this.#message
    const powers = {
      unfinished: hasUnfinished,
      owners: hasOwners,
      space: hasSpace,
      presign: hasPresign,
    }
    const probe = hasProbe(backend) ? backend : { findings: [], writeRefusal: undefined }
    return {
      status: message === '' ? 'ok' : 'unavailable',
      backend: backend.name,
      capabilities: Object.entries(powers)
        .filter(([, has]) => has(backend))
        .map(([power]) => power),
      findings: probe.findings,
      writable: probe.writeRefusal === undefined,
      lastCheckAt: this.#startedAt?.toISOString() ?? null,
      lastCheckMs: this.#tookMs,
      message,
    }
  }

  /** Never two looks at once: what hangs would pile up. `onEnd` is called at its end or time-out. */
  #look(onEnd: () => void = () => {}): void {
    if (this.#running || this.#isStopping) return
    clearTimeout(this.#timer)
    this.#isSuspected = false
    this.#timeout = setTimeout(() => {
      this.#tell(`The storage has not answered since ${this.#startedAt?.toISOString()}.`)
      onEnd()
    }, this.#timeoutMs)
    this.#timeout.unref()
    this.#running = this.#check().finally(() => {
      clearTimeout(this.#timeout)
      this.#running = undefined
      this.#plan()
      onEnd()
    })
  }

  #plan(): void {
    if (this.#isStopping) return
    clearTimeout(this.#timer)
    const isHurried = this.#isSuspected || this.#message !== ''
    const intervalMs = isHurried ? this.#troubleIntervalMs : this.#intervalMs
    const restMs = this.#startedAtMs + intervalMs - performance.now()
    this.#timer = setTimeout(() => this.#look(), Math.max(0, restMs))
    this.#timer.unref()
  }

  /** Never rejects. */
  async #check(): Promise<void> {
    this.#startedAt = new Date()
    this.#startedAtMs = performance.now()
    this.#tookMs = null
    const { store, backend } = this.#options
    let message = ''
    try {
      await store.check()
    } catch (error) {
      const outage = hasOutages(backend) ? backend.outage : undefined
      message = outage?.message ?? asError(error).message
    }
    this.#tookMs = Math.round(performance.now() - this.#startedAtMs)
    this.#tell(message)
  }

  #tell(message: string): void {
    const before = this.#message
    this.#message = ''
    if (message === '') this.#troubleAt = undefined
    else {
      this.#troubleAt ??= this.#startedAt ?? new Date()
      const hasSince = message.includes('has not answered since')
      this.#message = hasSince ? message : `Since ${this.#troubleAt.toISOString()}: ${message}`
    }
    const hasChanged = (before === '') !== (message === '') || before === notLooked
    if (hasChanged && !this.#isStopping) this.#options.onChange?.(this.report())
  }
}
