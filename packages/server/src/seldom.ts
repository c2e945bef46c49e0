// What happens again and again while something is away is told now and then, not each time.

const usualIntervalMs = 30_000
/** That are told apart. */
const textsMax = 1000

export class Seldom {
  readonly #intervalMs: number
  #toldAtMs = -Infinity
  #kept = 0

  constructor(intervalMs: number = usualIntervalMs) {
    this.#intervalMs = intervalMs
  }

  /** How many were kept back since the last one that was told; undefined: this one is kept back too. */
  next(): number | undefined {
    const nowMs = performance.now()
    if (nowMs - this.#toldAtMs < this.#intervalMs) {
      this.#kept += 1
      return undefined
    }
    const kept = this.#kept
    this.#toldAtMs = nowMs
    this.#kept = 0
    return kept
  }
}

/** Each text by itself. */
export class SeldomByText {
  readonly #each = new Map<string, Seldom>()

  /** As `Seldom.next`, of those with this text. */
  next(text: string): number | undefined {
    if (this.#each.size >= textsMax) this.#each.clear()
    const seldom = this.#each.get(text) ?? new Seldom()
    this.#each.set(text, seldom)
    return seldom.next()
  }
}
