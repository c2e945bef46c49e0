// Whether the storage works: a canary object is written, read and removed every few seconds, and
// /ready tells the last result from memory, so that a hung disk never hangs the question.

import {
  type Backend,
  type ImageStore,
  asError,
  hasOwners,
  hasSpace,
  hasUnfinished,
} from '@backing-image/core'

const usualIntervalMs = 15_000

export interface HealthOptions {
  store: Pick<ImageStore, 'check'>
  backend: Backend
  /** Between two looks, and how long one may take. */
  intervalMs?: number
  /** More that /ready tells; never a reason for 503. */
  more?: () => Record<string, unknown>
}

export interface HealthReport {
  status: 'ok' | 'unavailable'
  backend: string
  capabilities: string[]
  /** When the last look began, ISO 8601; null before the first. */
  lastCheckAt: string | null
  /** How long it took; null while it has not ended. */
  lastCheckMs: number | null
  /** What is wrong; empty when nothing is. */
  message: string
  [more: string]: unknown
}

export class Health {
  readonly #options: HealthOptions
  readonly #intervalMs: number
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #startedAt: Date | undefined
  #tookMs: number | null = null
  #message = 'The storage has not been looked at yet.'

  constructor(options: HealthOptions) {
    this.#options = options
    this.#intervalMs = options.intervalMs ?? usualIntervalMs
  }

  /** Begins to look; resolves when the first look has ended or taken too long. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.#look(), this.#intervalMs)
    this.#timer.unref()
    await this.#look()
  }

  /** From now on the answer is "stopping": no new work should come here. */
  stop(): void {
    clearInterval(this.#timer)
    this.#message = 'The server is stopping.'
  }

  report(): HealthReport {
    const { backend, more } = this.#options
    const powers = { unfinished: hasUnfinished, owners: hasOwners, space: hasSpace }
    return {
      status: this.#message === '' ? 'ok' : 'unavailable',
      backend: backend.name,
      capabilities: Object.entries(powers)
        .filter(([, has]) => has(backend))
        .map(([power]) => power),
      lastCheckAt: this.#startedAt?.toISOString() ?? null,
      lastCheckMs: this.#tookMs,
      message: this.#message,
      ...more?.(),
    }
  }

  /** Never rejects. A look that hangs is waited for no longer than the interval, but not repeated. */
  async #look(): Promise<void> {
    const isNew = this.#running === undefined
    this.#running ??= this.#check().finally(() => (this.#running = undefined))
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        const since = this.#startedAt?.toISOString()
        if (this.#running) this.#tell(`The storage has not answered since ${since}.`)
        resolve()
      }, this.#intervalMs)
      timer.unref()
    })
    if (isNew) await Promise.race([this.#running, late])
    clearTimeout(timer)
  }

  async #check(): Promise<void> {
    this.#startedAt = new Date()
    this.#tookMs = null
    const startedAtMs = performance.now()
    let message = ''
    try {
      await this.#options.store.check()
    } catch (error) {
      message = asError(error).message
    }
    this.#tookMs = Math.round(performance.now() - startedAtMs)
    this.#tell(message)
  }

  #tell(message: string): void {
    if (this.#timer?.hasRef() !== undefined && this.#message !== 'The server is stopping.') {
      this.#message = message
    }
  }
}
