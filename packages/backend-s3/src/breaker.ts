// An endpoint that is down is asked by one request at a time, so that the others fail at once
// instead of each waiting for its own time-out.

const restMs = 2_000
/** Failures that are further apart than this are not one outage. */
const quietMsMax = 10_000

export class Breaker {
  readonly #opensAfterMs: number
  #failingSinceMs: number | undefined
  #failedAtMs = 0
  /** While set the endpoint counts as down; until then nobody tries it. */
  #restsUntilMs: number | undefined
  #isTrying = false

  /** `opensAfterMs`: for how long attempts must have failed, with no answer to any. */
  constructor(opensAfterMs: number) {
    this.#opensAfterMs = opensAfterMs
  }

  /** Whether a request may go out, and as what. Who sends the trial calls `trialIsOver` in the end. */
  admit(): 'usual' | 'trial' | undefined {
    if (this.#restsUntilMs === undefined) return 'usual'
    if (this.#isTrying || performance.now() < this.#restsUntilMs) return undefined
    this.#isTrying = true
    return 'trial'
  }

  trialIsOver(): void {
    this.#isTrying = false
  }

  /** The endpoint has answered, whatever it said. */
  answered(): void {
    this.#failingSinceMs = undefined
    this.#restsUntilMs = undefined
  }

  /** An attempt got no answer. */
  failed(): void {
    const nowMs = performance.now()
    if (nowMs - this.#failedAtMs > quietMsMax) this.#failingSinceMs = undefined
    this.#failedAtMs = nowMs
    this.#failingSinceMs ??= nowMs
    if (nowMs - this.#failingSinceMs < this.#opensAfterMs) return
    this.#restsUntilMs = nowMs + restMs
  }
}
