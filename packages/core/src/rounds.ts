// What is done again and again, each by its own clock, until the store is closed.

import { asError } from './errors.ts'

export class Rounds {
  readonly #onProblem: (error: Error) => void
  readonly #timers = new Set<NodeJS.Timeout>()
  #isOver = false

  constructor(onProblem: (error: Error) => void) {
    this.#onProblem = onProblem
  }

  /** Each begins so long after the last one began; later only where that took longer. */
  every(intervalMs: number, work: () => Promise<void>): void {
    const after = (pauseMs: number): void => {
      if (this.#isOver) return
      const timer = setTimeout(() => {
        this.#timers.delete(timer)
        const startedAtMs = performance.now()
        const next = (): void => {
          // A store that is slow is not asked without a pause.
          after(Math.max(intervalMs / 8, intervalMs - (performance.now() - startedAtMs)))
        }
        work()
          .catch((error: unknown) => this.#onProblem(asError(error)))
          .finally(next)
      }, pauseMs)
      this.#timers.add(timer.unref())
    }
    after(intervalMs)
  }

  stop(): void {
    this.#isOver = true
    for (const timer of this.#timers) clearTimeout(timer)
  }
}
