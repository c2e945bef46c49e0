// The bytes of one put: read once, left at any moment, and let go exactly once.

import type { Bytes } from '@backing-image/core'

/** Settles as `work` does, or rejects with the reason of `signal` as soon as that is aborted. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason)
    // Before the check of `aborted`, so that the failure of work left behind is never unhandled.
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
  })
}

export class Source {
  readonly #iterator: AsyncIterator<Uint8Array>
  readonly #stop: AbortSignal
  #isOver = false

  constructor(bytes: Bytes, stop: AbortSignal) {
    this.#iterator = bytes[Symbol.asyncIterator]()
    this.#stop = stop
  }

  /** Undefined at the end. The last chunk is no longer valid. */
  async next(): Promise<Uint8Array | undefined> {
    this.#stop.throwIfAborted()
    const step = this.#iterator.next()
    // A source that has failed, also after we left it, has let itself go.
    step.catch(() => {
      this.#isOver = true
    })
    const result = await unlessAborted(step, this.#stop)
    if (!result.done) return result.value
    this.#isOver = true
    return undefined
  }

  /**
   * To be called when nothing reads the last chunk any more. Waits for nothing: a generator that
   * hangs lets go only when it wakes. What goes wrong here is hidden by the error that led here.
   */
  letGo(): void {
    if (this.#isOver) return
    this.#isOver = true
    const letting = async (): Promise<unknown> => await this.#iterator.return?.()
    letting().catch(() => undefined)
  }
}
