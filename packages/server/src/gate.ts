// Lets a limited number of uploads run at once; the others wait in line, for a limited time.

import { ImageError } from '@backing-image/core'

const waitersMax = 1000

interface Waiter {
  enter(): void
}

export class Gate {
  #free: number
  readonly #waiters = new Set<Waiter>()

  constructor(places: number) {
    this.#free = places
  }

  /**
   * Resolves with the function that gives the place back. Rejects with `too_many_requests` after
   * `timeoutMs`, and with the signal's reason when that is aborted first.
   */
  async enter(timeoutMs: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else await this.#wait(timeoutMs, signal)
    let isInside = true
    return () => {
      if (isInside) this.#leave()
      isInside = false
    }
  }

  async #wait(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.#waiters.size >= waitersMax) throw busy()
    await new Promise<void>((resolve, reject) => {
      const settle = (act: () => void) => {
        this.#waiters.delete(waiter)
        clearTimeout(timer)
        signal.removeEventListener('abort', onAbort)
        act()
      }
      const waiter: Waiter = { enter: () => settle(resolve) }
      const onAbort = () => settle(() => reject(signal.reason as Error))
      const timer = setTimeout(() => settle(() => reject(busy())), timeoutMs)
      signal.addEventListener('abort', onAbort)
      this.#waiters.add(waiter)
    })
  }

  /** The place goes to the one who waits longest, if there is one. */
  #leave(): void {
    const [next] = this.#waiters
    if (next) next.enter()
    else this.#free += 1
  }
}

function busy(): ImageError {
  return new ImageError(
    'resource_exhausted',
    'As many uploads run as MAX_CONCURRENT_INGESTS allows; try again in a moment.',
    { reason: 'too_many_requests' },
  )
}
