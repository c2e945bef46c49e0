// Ends an exchange with a source when nothing comes for too long while something is wanted, or when
// the caller gives it up.

export class Watch {
  readonly #controller = new AbortController()
  readonly #idleTimeoutMs: number
  readonly #idle: () => Error
  readonly #caller: AbortSignal | undefined
  readonly #leave = (): void => this.#abort(this.#caller?.reason)
  #timer: NodeJS.Timeout | undefined
  #changes = 0

  constructor(options: { idleTimeoutMs: number; idle: () => Error; signal?: AbortSignal }) {
    this.#idleTimeoutMs = options.idleTimeoutMs
    this.#idle = options.idle
    this.#caller = options.signal
    if (this.#caller?.aborted) this.#leave()
    else this.#caller?.addEventListener('abort', this.#leave, { once: true })
  }

  /** Aborted when the exchange is over for one of the two reasons, which is its reason. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** From now on something must come. */
  expect(): void {
    this.rest()
    const changes = this.#changes
    this.#timer = setTimeout(() => {
      // What came while this process was busy is looked at first.
      setImmediate(() => {
        if (this.#changes === changes) this.#abort(this.#idle())
      })
    }, this.#idleTimeoutMs)
  }

  /** Nothing is wanted for now: our own slowness is no fault of the source. */
  rest(): void {
    this.#changes += 1
    clearTimeout(this.#timer)
  }

  /** The exchange is over. To be called: the caller's signal may live as long as the process. */
  end(): void {
    this.rest()
    this.#caller?.removeEventListener('abort', this.#leave)
  }

  #abort(reason: unknown): void {
    this.end()
    this.#controller.abort(reason)
  }
}
