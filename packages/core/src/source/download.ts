// One URL as one stream of bytes that survives broken connections: it goes on where it was, or says
// that everything must be read again; it never mixes two contents and never ends short.

import { setTimeout as delay } from 'node:timers/promises'
import type { Bytes } from '../backend.ts'
import type { Answer } from './answer.ts'
import type { Credential } from './credential.ts'
import { SourceError, isTransientSource } from './failure.ts'
import type { Fetcher } from './fetcher.ts'
import { type Identity, identityFrom, validatorOf } from './identity.ts'
import { redactUrl } from './redact.ts'
import { type Progress, continuationOf, startAgain } from './resume.ts'

/** A failure that is about to be tried again. */
export interface Retry {
  error: SourceError
  /** Failures in a row without a new byte, this one included. */
  failures: number
  delayMs: number
  /** How many bytes from the beginning have come. */
  position: number
}

export interface DownloadOptions {
  url: URL
  credential?: Credential
  signal?: AbortSignal
  /** Never by way of a proxy: for other managers. */
  isDirect?: boolean
  /** What is there already: bytes come from `offset` on, if the content is still the same. */
  from?: { offset: number; validator: string; size?: number }
  /** Told before each wait. */
  onRetry?: (retry: Retry) => void
  /** How long to wait after the first, second, … failure in a row; after the last it is given up. */
  retryDelaysMs?: readonly number[]
}

export interface Download {
  /** Of the whole content, where the source tells, in bytes. */
  size: number | undefined
  /** Where `bytes` begin. */
  offset: number
  /** With this one a later download can go on from where this one was; undefined: it can not. */
  validator: string | undefined
  /** `gzip` or `x-gzip` where the bytes are packed on their way; else empty. */
  encoding: string
  /**
   * Throws SourceChanged when all must be read again, a SourceError when it is of no use, or the
   * reason of the signal.
   */
  bytes: Bytes
  /** Breaks the connection, when `bytes` are not wanted. */
  cancel(): void
}

const usualDelaysMs = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000]

/** Resolves with the head of the content; rejects as reading does. */
export async function openDownload(fetcher: Fetcher, options: DownloadOptions): Promise<Download> {
  const reading = new Reading(fetcher, options)
  await reading.open()
  const { identity, validator } = reading
  return {
    size: identity.size,
    offset: options.from?.offset ?? 0,
    validator,
    encoding: identity.encoding ?? '',
    bytes: reading,
    cancel: () => reading.cancel(),
  }
}

class Reading implements AsyncIterableIterator<Uint8Array> {
  readonly #fetcher: Fetcher
  readonly #options: DownloadOptions
  identity: Identity = {}
  validator: string | undefined
  #answer: Answer | undefined
  #chunks: AsyncIterator<Uint8Array> | undefined
  #position: number
  /** Where the answer at hand ends, if that is known. */
  #end: number | undefined
  /** Where the last bytes came from, when that was after redirects. */
  #last: { url: URL; credential?: Credential } | undefined
  #failures = 0
  #isOver = false
  #isCancelled = false

  constructor(fetcher: Fetcher, options: DownloadOptions) {
    this.#fetcher = fetcher
    this.#options = options
    const { from } = options
    this.#position = from?.offset ?? 0
    if (!from || from.offset === 0) return
    this.validator = from.validator
    this.identity = identityFrom(from.validator, from.size)
    this.#isOver = from.offset === from.size
  }

  async open(): Promise<void> {
    while (!this.#isOver && !this.#answer) {
      await this.#ask().catch((error) => this.#recover(error))
    }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      try {
        await this.open()
        if (this.#isOver) return { done: true, value: undefined }
        const result = await this.#chunks?.next()
        if (result && !result.done) return { done: false, value: this.#take(result.value) }
        this.#finish()
      } catch (error) {
        await this.#recover(error)
      }
    }
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.cancel()
    return { done: true, value: undefined }
  }

  cancel(): void {
    this.#isCancelled = true
    this.#isOver = true
    this.#leave()
  }

  #leave(): void {
    this.#answer?.cancel()
    this.#answer = undefined
    this.#chunks = undefined
  }

  #take(chunk: Uint8Array): Uint8Array {
    if (this.#end !== undefined && this.#position + chunk.length > this.#end) {
      throw startAgain(this.#progress, 'it sent more bytes than its Content-Range says')
    }
    this.#position += chunk.length
    this.#failures = 0
    return chunk
  }

  /** The answer has ended: that need not have been all. */
  #finish(): void {
    const { size } = this.identity
    const { status } = this.#answer ?? {}
    if (this.#end !== undefined && this.#position < this.#end) {
      throw new SourceError(
        `Could not read ${this.#progress.url}: it ended before all of its range had come.`,
        { isTransient: true },
      )
    }
    this.#leave()
    // A range may be shorter than asked for; without a total only 416 tells that nothing follows.
    this.#isOver = size === undefined ? status !== 206 : this.#position === size
  }

  get #progress(): Progress {
    const url = redactUrl(this.#options.url.href)
    const { identity, validator } = this
    return { url, position: this.#position, identity, validator }
  }

  /** Asks for what is still missing. */
  async #ask(): Promise<void> {
    const { url, credential } = this.#options
    const last = this.#last
    // A redirect may lead to another mirror each time: the first try goes where the bytes came from.
    this.#last = undefined
    if (last) {
      try {
        return await this.#askAt(last.url, last.credential)
      } catch (error) {
        this.#options.signal?.throwIfAborted()
        if (isTransientSource(error)) throw error
        // A link that has expired, or a mirror that has been renewed: the redirect knows better.
      }
    }
    await this.#askAt(url, credential)
  }

  async #askAt(url: URL, credential: Credential | undefined): Promise<void> {
    const { signal, isDirect } = this.#options
    const { validator } = this
    const position = this.#position
    const answer = await this.#fetcher.get(url, {
      headers:
        position > 0 && validator ? { range: `bytes=${position}-`, 'if-range': validator } : {},
      expected: [416],
      ...(credential && { credential }),
      ...(signal && { signal }),
      ...(isDirect && { isDirect }),
    })
    try {
      const { identity, end, isOver = false } = continuationOf(answer, this.#progress)
      if (answer.status === 200) this.validator = validatorOf(answer)
      this.identity = identity
      this.#end = end
      this.#isOver = isOver
    } catch (error) {
      answer.cancel()
      throw error
    }
    if (this.#isOver) return answer.cancel()
    this.#answer = answer
    this.#chunks = answer.body[Symbol.asyncIterator]()
    if (answer.location.href === this.#options.url.href) return
    const isTrusted = credential && answer.isWithCredential
    this.#last = { url: answer.location, ...(isTrusted && { credential }) }
  }

  /** Waits before the next try; throws when there must be none. */
  async #recover(error: unknown): Promise<void> {
    const { signal, onRetry, retryDelaysMs = usualDelaysMs } = this.#options
    this.#leave()
    // Who is no longer interested gets no error.
    if (this.#isCancelled) return
    try {
      signal?.throwIfAborted()
      if (!(error instanceof SourceError) || !error.isTransient) throw error
      if (this.#position > 0 && this.validator === undefined) {
        throw startAgain(
          this.#progress,
          'it has neither a strong ETag nor a date to ask with',
          error,
        )
      }
      this.#failures += 1
      const failures = this.#failures
      const delayMs = Math.max(retryDelaysMs[failures - 1] ?? 0, error.retryAfterMs ?? 0)
      if (failures > retryDelaysMs.length) throw this.#gaveUp(error)
      onRetry?.({ error, failures, delayMs, position: this.#position })
      await delay(delayMs, undefined, { ...(signal && { signal }) })
    } catch (failure) {
      this.#isOver = true
      throw signal?.aborted ? signal.reason : failure
    }
  }

  #gaveUp(last: SourceError): SourceError {
    const { url } = this.#progress
    const { size } = this.identity
    const far = `${this.#position}${size === undefined ? '' : ` of ${size}`} bytes`
    return new SourceError(
      `${url} was given up at ${far}: ${this.#failures} times in a row not a byte came. The last ` +
        `time: ${last.message}`,
      {
        isTransient: false,
        cause: last,
        ...(last.status !== undefined && { status: last.status }),
      },
    )
  }
}
