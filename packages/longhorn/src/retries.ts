// What Longhorn has refused is not asked again at once: sooner at first, then less and less often.

import type { ImageStatus } from '@backing-image/core'
import { nothing } from './registered.ts'

const firstDelayMs = 15_000
const delayMostMs = 600_000

export class Retries {
  readonly #waiting = new Map<string, { status: ImageStatus; delayMs: number; atMs: number }>()
  readonly #now: () => number

  /** `now` is a monotonic clock, in milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** What was said of it the last time, as long as its time has not come. */
  waiting(id: string): ImageStatus | undefined {
    const found = this.#waiting.get(id)
    return found && this.#now() < found.atMs ? found.status : undefined
  }

  /** It was refused with these words. Returns what is said of it until it is tried again. */
  failed(id: string, name: string, message: string): ImageStatus {
    const before = this.#waiting.get(id)?.delayMs
    const delayMs = Math.min(delayMostMs, before === undefined ? firstDelayMs : before * 2)
    const status = { ...nothing(name), state: 'refused', message }
    this.#waiting.set(id, { status, delayMs, atMs: this.#now() + delayMs })
    return status
  }

  forget(id: string): void {
    this.#waiting.delete(id)
  }

  /** Forgets all but these. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#waiting.keys()) if (!ids.has(id)) this.#waiting.delete(id)
  }
}
