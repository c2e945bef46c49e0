// One multipart upload: its parts, its end, and the certainty that it has ended. The answer to the
// last step is never guessed: the object itself says which upload wrote it.

import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  ListPartsCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
  type HeadObjectCommandOutput,
} from '@aws-sdk/client-s3'
import { ImageError, isImageError, type Stat } from '@backing-image/core'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Bucket } from './bucket.ts'
import { failureOf } from './failure.ts'

/** For a body of some MiB over a slow line; an outage of some minutes is waited for. */
export const bodyTimeouts = { attemptTimeoutMs: 120_000, totalTimeoutMs: 180_000 }
/** A store that joins thousands of parts, or copies gigabytes, may take minutes for its answer. */
const longTimeouts = { attemptTimeoutMs: 300_000, totalTimeoutMs: 600_000 }
export const contentType = 'application/octet-stream'
/** How long a Complete without a clear answer is repeated. */
const unclearMsUsual = 60_000
const pauseMsMax = 5_000
const abortTriesMax = 5

/** What the store says of an object, without its key. */
export type Found = Omit<Stat, 'key'>

export class Upload {
  /** Of the object, without the bucket's prefix. */
  readonly key: string
  /** As the store names it. */
  readonly #at: { Bucket: string; Key: string }
  readonly #bucket: Bucket
  readonly #id: string
  /** Fresh for each upload, and kept by the object as its metadata. */
  readonly #writeId: string
  readonly #unclearMs: number
  readonly #etags: string[] = []
  readonly #inFlight: Set<Promise<unknown>> = new Set()
  #failure: { error: unknown } | undefined
  #partCount = 0
  #sizeBytes = 0
  #completing: Promise<Found> | undefined
  /** Whether an abort may still be sent: not when the object may be there, made of these parts. */
  #isOpen = true

  private constructor(bucket: Bucket, key: string, id: string, writeId: string, unclearMs: number) {
    this.#bucket = bucket
    this.#unclearMs = unclearMs
    this.#at = bucket.at(key)
    this.key = key
    this.#id = id
    this.#writeId = writeId
  }

  /**
   * Can not be aborted, so that no upload is begun whose id nobody knows. `unclearMs` is how long a
   * Complete without a clear answer is repeated.
   */
  static async begin(
    bucket: Bucket,
    key: string,
    unclearMs: number = unclearMsUsual,
  ): Promise<Upload> {
    const writeId = randomBytes(16).toString('hex')
    const command = new CreateMultipartUploadCommand({
      ...bucket.at(key),
      ContentType: contentType,
      Metadata: { 'write-id': writeId },
    })
    const { UploadId: id } = await bucket.send(command, { what: `begin the upload of ${key}` })
    if (!id) throw broken(`An upload of ${key} was begun, but the store gave it no id.`)
    return new Upload(bucket, key, id, writeId, unclearMs)
  }

  /** How many parts were begun. */
  get partCount(): number {
    return this.#partCount
  }

  /** Their length together. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Sends `body` as the next part; settles when nothing reads it any more. */
  async sendPart(body: Buffer, signal: AbortSignal): Promise<void> {
    await this.#addPart(body.length, async (number) => {
      const command = new UploadPartCommand({ ...this.#names(), PartNumber: number, Body: body })
      const options = { what: `store part ${number} of ${this.key}`, signal, ...bodyTimeouts }
      return (await this.#bucket.send(command, options)).ETag
    })
  }

  /** Has the store copy an object, of which no byte may be missing, as the next part. */
  async copyPart(from: Upload, signal: AbortSignal): Promise<void> {
    await this.#addPart(from.sizeBytes, async (number) => {
      const command = new UploadPartCopyCommand({
        ...this.#names(),
        PartNumber: number,
        CopySource: copySource(from.#at),
      })
      const options = { what: `join part ${number} of ${this.key}`, signal, ...longTimeouts }
      return (await this.#bucket.send(command, options)).CopyPartResult?.ETag
    })
  }

  /** When all parts are stored: makes the object. `unavailable` where that may have happened. */
  async complete(): Promise<Found> {
    this.#completing ??= this.#complete()
    return await this.#completing
  }

  /** After a failure: waits for everything in flight, then leaves nothing behind. */
  async abandon(): Promise<void> {
    await Promise.allSettled([...this.#inFlight, this.#completing])
    if (this.#isOpen) await abortUpload(this.#bucket, this.key, this.#id)
  }

  async #addPart(
    sizeBytes: number,
    store: (number: number) => Promise<string | undefined>,
  ): Promise<void> {
    this.#partCount += 1
    this.#sizeBytes += sizeBytes
    const number = this.#partCount
    const storing = store(number)
    this.#inFlight.add(storing)
    try {
      const etag = await storing
      if (!etag) throw broken(`The store gave no ETag for part ${number} of ${this.key}.`)
      this.#etags[number - 1] = etag
    } catch (reason) {
      const error = isImageError(reason, 'not_found') ? this.#gone(reason) : reason
      this.#failure ??= { error }
      throw error
    } finally {
      this.#inFlight.delete(storing)
    }
  }

  async #complete(): Promise<Found> {
    await Promise.allSettled(this.#inFlight)
    if (this.#failure) throw this.#failure.error
    this.#isOpen = false
    let endsAtMs = Infinity
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#sendComplete()
      const found = await this.#look(answer)
      if (found !== undefined && found !== 'unclear') return this.#checked(found)
      // The store's yes is one, though another put, a delete or an outage was faster than our look.
      if (typeof answer === 'string') {
        const modifiedAt = BigInt(Date.now()) * 1_000_000n
        return { size: this.#sizeBytes, tag: answer, modifiedAt }
      }
      if (found === undefined && isRefusal(answer)) {
        this.#isOpen = true
        throw answer
      }
      if (performance.now() > endsAtMs) throw this.#unclear(answer)
      endsAtMs = Math.min(endsAtMs, performance.now() + this.#unclearMs)
      await pause(Math.min(pauseMsMax, 50 * 2 ** attempt))
    }
  }

  /** The object's ETag, or why there was none. */
  async #sendComplete(): Promise<unknown> {
    const parts = this.#etags.map((ETag, index) => ({ PartNumber: index + 1, ETag }))
    const command = new CompleteMultipartUploadCommand({
      ...this.#names(),
      MultipartUpload: { Parts: parts },
    })
    try {
      const what = `complete the upload of ${this.key}`
      const options = { what, ...longTimeouts, attemptsMax: 1 }
      const { ETag } = await this.#bucket.send(command, options)
      return ETag ?? broken(`The store gave no ETag for ${this.key}.`)
    } catch (error) {
      return error
    }
  }

  /** The object, if it is the one that this upload made: by its id, or by what Complete said. */
  async #look(answer: unknown): Promise<Found | 'unclear' | undefined> {
    const command = new HeadObjectCommand(this.#at)
    try {
      const head = await this.#bucket.send(command, { what: `look at ${this.key}` })
      const isOwn = head.Metadata?.['write-id'] === this.#writeId || head.ETag === answer
      return isOwn ? foundOf(head) : undefined
    } catch (error) {
      return isImageError(error, 'not_found') ? undefined : 'unclear'
    }
  }

  #checked(found: Found): Found {
    if (found.size === this.#sizeBytes) return found
    const { key } = this
    const text = `${this.#sizeBytes} bytes of ${key} were sent, but the store has ${found.size}.`
    throw new ImageError('data_loss', text)
  }

  #gone(cause: unknown): ImageError {
    const text =
      `The upload of ${this.key} is gone: somebody, or a lifecycle rule of the bucket, has ` +
      'aborted it. Give such a rule more days than an upload takes, and try again.'
    return new ImageError('unavailable', text, { cause })
  }

  #unclear(cause: unknown): ImageError {
    const text =
      `The store did not say whether ${this.key} was completed: it may have happened. ` +
      'Look at the state of the store, and try again.'
    return new ImageError('unavailable', text, { cause })
  }

  #names(): { Bucket: string; Key: string; UploadId: string } {
    return { ...this.#at, UploadId: this.#id }
  }
}

/**
 * Aborts an upload, and again while parts outlive it: one in flight can be stored after the abort.
 * An upload that is not there is success.
 */
export async function abortUpload(bucket: Bucket, key: string, id: string): Promise<void> {
  const names = { ...bucket.at(key), UploadId: id }
  for (let attempt = 1; ; attempt += 1) {
    try {
      const what = `abort the upload of ${key}`
      await bucket.send(new AbortMultipartUploadCommand(names), { what })
      const list = new ListPartsCommand({ ...names, MaxParts: 1 })
      const { Parts = [] } = await bucket.send(list, { what: `see whether ${key} has parts left` })
      if (Parts.length === 0 && attempt > 1) return
    } catch (error) {
      if (isImageError(error, 'not_found')) return
      throw error
    }
    if (attempt >= abortTriesMax) {
      throw new ImageError('unavailable', `Parts of ${key} outlive the abort of their upload.`)
    }
    await pause(100 * 2 ** attempt)
  }
}

/** What the answer to HeadObject tells. */
export function foundOf(head: HeadObjectCommandOutput): Found {
  return {
    size: head.ContentLength ?? 0,
    tag: head.ETag ?? '',
    modifiedAt: BigInt(head.LastModified?.getTime() ?? 0) * 1_000_000n,
  }
}

/** The store's definite no. That it knows no such upload is none: it may have been completed. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof ImageError) || error.code === 'not_found') return false
  return error.code !== 'unavailable' && (failureOf(error.cause).status ?? 0) >= 400
}

function copySource({ Bucket, Key }: { Bucket: string; Key: string }): string {
  return [Bucket, ...Key.split('/')].map(encodeURIComponent).join('/')
}

function broken(text: string): ImageError {
  return new ImageError('unavailable', text)
}
