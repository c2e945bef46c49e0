// Whether the storage works: a canary object is written, read and removed every few seconds, and
// /ready tells the last result from memory, so that a hung disk never hangs the question.

import { setTimeout as delay } from 'node:timers/promises'
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
}

export class Health {
  readonly #options: HealthOptions
  readonly #intervalMs: number
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  #startedAt: Date | undefined
  #tookMs: number | null = null
  #message = 'The storage has not been looked at yet.'
  #isStopping = false

  constructor(options: HealthOptions) {
    this.#options = options
    this.#intervalMs = options.intervalMs ?? usualIntervalMs
  }

  /** Begins to look; resolves when the first look has ended or taken too long. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => this.#look(), this.#intervalMs)
    this.#timer.unref()
    this.#look()
    await Promise.race([this.#running, delay(this.#intervalMs, undefined, { ref: false })])
  }

  /** From now on the answer is that the server stops: no new work should come here. */
  stop(): void {
    clearInterval(this.#timer)
    this.#isStopping = true
  }

  report(): HealthReport {
    const { backend } = this.#options
    const message = this.#isStopping ? 'The server is stopping.' : this.#message
    const powers = { unfinished: hasUnfinished, owners: hasOwners, space: hasSpace }
    return {
      status: message === '' ? 'ok' : 'unavailable',
      backend: backend.name,
      capabilities: Object.entries(powers)
        .filter(([, has]) => has(backend))
        .map(([power]) => power),
      lastCheckAt: this.#startedAt?.toISOString() ?? null,
      lastCheckMs: this.#tookMs,
      message,
    }
  }

  /** Never two looks at once: what hangs would pile up. */
  #look(): void {
    if (this.#running) {
      this.#message = `The storage has not answered since ${this.#startedAt?.toISOString()}.`
      return
    }
    this.#running = this.#check().finally(() => (this.#running = undefined))
  }

  /** Never rejects. */
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
    this.#message = message
  }
}
