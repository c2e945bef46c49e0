// One object, or a range of it, as it comes from the store. A connection that is cut or silent is
// replaced by one for the rest of the same object: never by bytes of another.

import { GetObjectCommand, type GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { ImageError, isImageError, type Bytes, type GetOptions } from '@backing-image/core'
import { Readable } from 'node:stream'
import type { Bucket } from './bucket.ts'

/** So long a connection may give no byte while its reader waits for one. */
const silenceMsMax = 10_000
/** So long a reader waits for the next byte, through all connections. */
const patienceMs = 30_000
const ready = new Uint8Array(0)

export interface ReadLimits {
  silenceMsMax?: number
  patienceMs?: number
}

/** Rejects with `not_found` or `out_of_range` before it resolves. */
export async function readObject(
  bucket: Bucket,
  key: string,
  options: GetOptions,
  limits: ReadLimits = {},
): Promise<Bytes> {
  const chunks = readChunks(bucket, key, options, limits)
  // Runs to its first yield: the answer is there and checked, and from now on `return` ends it.
  await chunks.next()
  return chunks
}

async function* readChunks(
  bucket: Bucket,
  key: string,
  options: GetOptions,
  limits: ReadLimits,
): AsyncGenerator<Uint8Array> {
  const object = await ObjectBody.open(bucket, key, options, limits)
  try {
    yield ready
    for (;;) {
      const chunk = await object.next()
      if (!chunk) return
      yield chunk
    }
  } finally {
    object.close()
  }
}

class ObjectBody {
  readonly #bucket: Bucket
  readonly #key: string
  readonly #signal: AbortSignal | undefined
  readonly #limits: Required<ReadLimits>
  #body: Readable
  #iterator: AsyncIterator<Uint8Array>
  readonly #etag: string | undefined
  /** The next byte to be given, and the one after the last. */
  #at: number
  readonly #end: number
  readonly #leave = (): void => this.close()

  private constructor(
    bucket: Bucket,
    key: string,
    options: GetOptions,
    limits: ReadLimits,
    output: GetObjectCommandOutput,
  ) {
    this.#bucket = bucket
    this.#key = key
    this.#signal = options.signal
    this.#limits = { silenceMsMax, patienceMs, ...limits }
    this.#etag = output.ETag
    this.#body = bodyOf(output)
    this.#iterator = this.#body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
    const { start, end, size } = placeOf(output)
    const range = options.range ?? { start: 0, end: size - 1 }
    if (range.end >= size || start !== range.start || end !== range.end + 1) {
      this.close()
      throw range.end >= size ? outside(key, range, size) : wrongPlace(bucket, key)
    }
    this.#at = start
    this.#end = end
    this.#signal?.addEventListener('abort', this.#leave, { once: true })
    if (this.#signal?.aborted) this.close()
  }

  static async open(
    bucket: Bucket,
    key: string,
    options: GetOptions,
    limits: ReadLimits,
  ): Promise<ObjectBody> {
    const { range, signal } = options
    if (range && !isPlausible(range)) throw outside(key, range)
    const command = new GetObjectCommand({
      ...bucket.at(key),
      ...(range ? { Range: `bytes=${range.start}-${range.end}` } : {}),
    })
    const output = await bucket.send(command, { what: `read ${key}`, signal })
    return new ObjectBody(bucket, key, options, limits, output)
  }

  /** Undefined after the last byte. */
  async next(): Promise<Uint8Array | undefined> {
    const startedAtMs = performance.now()
    while (this.#at < this.#end) {
      try {
        const chunk = await this.#read()
        if (chunk && chunk.length > 0) {
          this.#at += chunk.length
          if (this.#at > this.#end) throw wrongPlace(this.#bucket, this.#key)
          return chunk
        }
        if (chunk === undefined) throw new Error('The connection ended before the body did.')
      } catch (error) {
        this.#signal?.throwIfAborted()
        if (error instanceof ImageError) throw error
        const leftMs = startedAtMs + this.#limits.patienceMs - performance.now()
        if (leftMs <= 0) throw this.#bucket.explained(error, `read ${this.#key}`)
        await this.#reopen(leftMs)
      }
    }
    this.#signal?.throwIfAborted()
    // Its end is read too, so that the connection can be used again.
    await this.#read().catch(() => undefined)
    return undefined
  }

  /** The next chunk of this connection, which is destroyed when it stays silent. */
  async #read(): Promise<Uint8Array | undefined> {
    const body = this.#body
    const timer = setTimeout(() => {
      body.destroy(new Error(`No byte came for ${this.#limits.silenceMsMax} ms.`))
    }, this.#limits.silenceMsMax)
    try {
      const { done, value } = await this.#iterator.next()
      return done ? undefined : value
    } finally {
      clearTimeout(timer)
    }
  }

  /** A connection for the rest, of the very object that was begun with. */
  async #reopen(leftMs: number): Promise<void> {
    this.#body.destroy()
    if (this.#etag === undefined) throw wrongPlace(this.#bucket, this.#key)
    const command = new GetObjectCommand({
      ...this.#bucket.at(this.#key),
      Range: `bytes=${this.#at}-${this.#end - 1}`,
      IfMatch: this.#etag,
    })
    const options = {
      what: `read on in ${this.#key}`,
      signal: this.#signal,
      totalTimeoutMs: leftMs,
    }
    const output = await this.#bucket.send(command, options).catch((error: unknown) => {
      throw isImageError(error, 'already_exists', 'not_found', 'out_of_range')
        ? changed(this.#key, error)
        : error
    })
    this.#body = bodyOf(output)
    this.#iterator = this.#body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
    // A store may ignore conditions and ranges.
    const { start, end } = placeOf(output)
    const isSame = output.ETag === this.#etag && start === this.#at && end === this.#end
    if (isSame && !this.#signal?.aborted) return
    this.close()
    this.#signal?.throwIfAborted()
    throw output.ETag === this.#etag ? wrongPlace(this.#bucket, this.#key) : changed(this.#key)
  }

  /** Ends the connection, which can not be used again when bytes of it were not read. */
  close(): void {
    this.#signal?.removeEventListener('abort', this.#leave)
    // What it says to that is nobody's business any more.
    this.#body.on('error', () => {})
    if (!this.#body.readableEnded) this.#body.destroy()
  }
}

function bodyOf({ Body: body }: GetObjectCommandOutput): Readable {
  if (body instanceof Readable) return body
  throw new ImageError('internal', 'The S3 client gave a body that is no stream.')
}

/** Which bytes an answer holds, the last one excluded, and the size of the whole object. */
function placeOf(output: GetObjectCommandOutput): { start: number; end: number; size: number } {
  const length = output.ContentLength ?? 0
  const found = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(output.ContentRange ?? '')
  if (!found) return { start: 0, end: length, size: length }
  const [, first, last, size] = found.map(Number) as [number, number, number, number]
  return { start: first, end: last + 1, size }
}

type Range = NonNullable<GetOptions['range']>

function isPlausible({ start, end }: Range): boolean {
  return Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end
}

function outside(key: string, { start, end }: Range, size?: number): ImageError {
  const bytes = size === undefined ? '' : `${size} `
  const text = `Bytes ${start} to ${end} are not within the ${bytes}bytes of ${key}.`
  return new ImageError('out_of_range', text)
}

function changed(key: string, cause?: unknown): ImageError {
  const text = `${key} was replaced or deleted while it was read. Read it again from its beginning.`
  return new ImageError('unavailable', text, { cause })
}

function wrongPlace({ endpoint }: Bucket, key: string): ImageError {
  const text = `The S3 endpoint ${endpoint} gave other bytes of ${key} than it was asked for.`
  return new ImageError('unavailable', `${text} A store is needed that knows Range and ETag.`)
}
