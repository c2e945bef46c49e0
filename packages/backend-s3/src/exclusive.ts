// Creating an object that must not exist yet, in one request. Each call carries an id of its own, so
// that one which was not answered can tell its own work from that of others.

import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { ImageError, exclusiveBytesMax, isImageError, orUndefined } from '@backing-image/core'
import type { Bytes, PutOptions, Stat } from '@backing-image/core'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { type Bucket, pauseBefore } from './bucket.ts'
import { Source } from './source.ts'
import { contentType, foundOf } from './upload.ts'

/** How a store lets one of several writers win. */
export type Exclusion =
  /** It checks `If-None-Match: *` and writes, in one step. */
  | 'conditional'
  /** It can not: a lock in this process, which by the operator's promise is the only writer. */
  | 'process'

/**
 * Creates `key`, or rejects with `already_exists`; of any number of racing writers one succeeds.
 * `invalid_argument` for more than 1 MiB; `unavailable` when it may have happened.
 */
export async function putExclusive(
  bucket: Bucket,
  exclusion: Exclusion,
  key: string,
  bytes: Bytes,
  { signal }: PutOptions,
): Promise<Stat> {
  const body = await gather(key, bytes, signal)
  const creation = new Creation(bucket, key, body, signal)
  if (exclusion === 'conditional') return await creation.run()
  return await alone(`${bucket.endpoint} ${bucket.name} ${bucket.prefix}${key}`, () =>
    creation.runUnconditionally(),
  )
}

async function gather(key: string, bytes: Bytes, signal?: AbortSignal): Promise<Buffer> {
  const source = new Source(bytes, signal ?? new AbortController().signal)
  const chunks: Buffer[] = []
  let length = 0
  try {
    for (;;) {
      const chunk = await source.next()
      if (!chunk) return Buffer.concat(chunks, length)
      length += chunk.length
      if (length > exclusiveBytesMax) {
        const text = `${key} is over ${exclusiveBytesMax} bytes, the most that is put with ifAbsent.`
        throw new ImageError('invalid_argument', text)
      }
      // A copy: the chunk is not ours to keep.
      chunks.push(Buffer.from(chunk))
    }
  } catch (error) {
    source.letGo()
    throw error
  }
}

/** One exclusive put, which is sent until its outcome is certain. */
class Creation {
  readonly #bucket: Bucket
  readonly #key: string
  readonly #body: Buffer
  readonly #signal: AbortSignal | undefined
  readonly #endsAtMs: number
  readonly #writeId: string = randomBytes(16).toString('hex')

  constructor(bucket: Bucket, key: string, body: Buffer, signal: AbortSignal | undefined) {
    this.#bucket = bucket
    this.#key = key
    this.#body = body
    this.#signal = signal
    this.#endsAtMs = performance.now() + bucket.totalTimeoutMs
  }

  async run(): Promise<Stat> {
    /** Whether the store may have done it without our knowing. */
    let isUnclear = false
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#put('*', 1).catch((error: unknown) => error)
      if (isStat(answer)) return answer
      this.#signal?.throwIfAborted()
      const isLost = isImageError(answer, 'already_exists')
      const mayHaveHappened = isImageError(answer, 'unavailable') && answer.cause !== undefined
      if (!isLost && !mayHaveHappened && !isUnclear) throw answer
      isUnclear ||= mayHaveHappened
      // Also after a plain "it exists": a proxy between may have sent the request twice.
      const found = await this.#look()
      if (typeof found === 'object') return found
      if (found === 'foreign') throw this.#taken(answer)
      const pauseMs = pauseBefore(attempt)
      if (performance.now() + pauseMs > this.#endsAtMs) throw this.#unclear(answer)
      await pause(pauseMs)
      this.#signal?.throwIfAborted()
    }
  }

  /** For the only writer there is: nobody else can write between the look and the put. */
  async runUnconditionally(): Promise<Stat> {
    const what = `look whether ${this.#key} exists`
    const head = new HeadObjectCommand(this.#bucket.at(this.#key))
    const there = await orUndefined(this.#bucket.send(head, { what, signal: this.#signal }))
    if (there) throw this.#taken(undefined)
    try {
      return await this.#put(undefined, Infinity)
    } catch (error) {
      this.#signal?.throwIfAborted()
      if (!isImageError(error, 'unavailable')) throw error
      const found = await this.#look()
      if (typeof found === 'object') return found
      throw this.#unclear(error)
    }
  }

  async #put(ifNoneMatch: '*' | undefined, attemptsMax: number): Promise<Stat> {
    const command = new PutObjectCommand({
      ...this.#bucket.at(this.#key),
      Body: this.#body,
      ContentType: contentType,
      Metadata: { 'write-id': this.#writeId },
      ...(ifNoneMatch ? { IfNoneMatch: ifNoneMatch } : {}),
    })
    const what = `create ${this.#key}`
    const output = await this.#bucket.send(command, { what, signal: this.#signal, attemptsMax })
    const { ETag: tag } = output
    if (!tag) {
      // Who answers so is no S3 store: something in between, which may or may not have passed it on.
      const text = `Could not ${what}: the answer names no ETag.`
      throw new ImageError('unavailable', text, { cause: new Error('no ETag') })
    }
    const modifiedAt = this.#bucket.answeredAt(output)
    return { key: this.#key, size: this.#body.length, tag, modifiedAt }
  }

  /** Whose object is there now: our own, as its Stat. */
  async #look(): Promise<Stat | 'foreign' | 'absent' | 'unknown'> {
    const command = new HeadObjectCommand(this.#bucket.at(this.#key))
    const what = `look who created ${this.#key}`
    // Even when the time is over: without a look nothing is certain.
    const totalTimeoutMs = Math.max(1_500, this.#endsAtMs - performance.now())
    try {
      const options = { what, signal: this.#signal, totalTimeoutMs }
      const head = await this.#bucket.send(command, options)
      if (head.Metadata?.['write-id'] !== this.#writeId) return 'foreign'
      return { key: this.#key, ...foundOf(head) }
    } catch (error) {
      this.#signal?.throwIfAborted()
      return isImageError(error, 'not_found') ? 'absent' : 'unknown'
    }
  }

  #taken(cause: unknown): ImageError {
    return new ImageError('already_exists', `${this.#key} exists already.`, { cause })
  }

  #unclear(cause: unknown): ImageError {
    const text =
      `The S3 endpoint ${this.#bucket.endpoint} did not say whether ${this.#key} was created: it ` +
      'may have happened. Try again.'
    return new ImageError('unavailable', text, { cause, reason: 'storage_unavailable' })
  }
}

function isStat(answer: unknown): answer is Stat {
  return typeof answer === 'object' && answer !== null && 'modifiedAt' in answer
}

const last = new Map<string, Promise<unknown>>()

/** Runs one piece of work at a time for each name, in this process. */
async function alone<T>(name: string, work: () => Promise<T>): Promise<T> {
  const before = last.get(name)
  const own = (async () => {
    await before?.catch(() => {})
    return await work()
  })()
  last.set(name, own)
  try {
    return await own
  } finally {
    if (last.get(name) === own) last.delete(name)
  }
}
