// What a source answered: its head, and its body as bytes that end well or throw.

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import type { Bytes } from '../backend.ts'
import { sourceFailure } from './failure.ts'
import { redactUrl } from './redact.ts'
import type { Watch } from './watch.ts'

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  /** Where it came from after all redirects, for messages: without secrets. */
  url: string
  /** The same with its secrets, to ask there again: never to be shown. */
  location: URL
  /** Whether a credential was sent there: after a redirect to another origin none is. */
  isWithCredential: boolean
  /**
   * Throws a SourceError when it ends short of what was announced, never ends clean then. Leaving it
   * early breaks the connection.
   */
  body: Bytes
  /** Breaks the connection, when the body is not wanted. */
  cancel(): void
}

/** Where an answer came from. */
export type Origin = Pick<Answer, 'location' | 'isWithCredential'>

export function answerOf(message: IncomingMessage, origin: Origin, watch: Watch): Answer {
  const { location } = origin
  const body = new Body(message, location, watch)
  return {
    status: message.statusCode ?? 0,
    headers: message.headers,
    url: redactUrl(location.href),
    ...origin,
    body,
    cancel: () => body.cancel(),
  }
}

class Body implements AsyncIterableIterator<Uint8Array> {
  readonly #message: IncomingMessage
  readonly #chunks: AsyncIterator<Uint8Array>
  readonly #location: URL
  readonly #watch: Watch
  #isOver = false

  constructor(message: IncomingMessage, location: URL, watch: Watch) {
    this.#message = message
    this.#chunks = message[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
    this.#location = location
    this.#watch = watch
    // A connection may break before anybody reads: then reading tells.
    message.on('error', () => {})
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#isOver) return { done: true, value: undefined }
    this.#watch.expect()
    try {
      const result = await this.#chunks.next()
      this.#watch.rest()
      if (!result.done) return { done: false, value: result.value }
      this.#isOver = true
      this.#watch.end()
      return { done: true, value: undefined }
    } catch (error) {
      this.cancel()
      const { aborted, reason } = this.#watch.signal
      throw aborted ? reason : sourceFailure(error, this.#location.href)
    }
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.cancel()
    return { done: true, value: undefined }
  }

  cancel(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#watch.end()
    this.#message.destroy()
  }
}
