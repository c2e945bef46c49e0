// One multipart upload: its parts, its end, and the certainty that it has ended. The answer to the
// last step is never guessed: the object itself says which upload wrote it.

import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  UploadPartCommand,
  UploadPartCopyCommand,
  type HeadObjectCommandOutput,
} from '@aws-sdk/client-s3'
import { ImageError, isImageError, type Stat } from '@backing-image/core'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { abortUpload } from './abort.ts'
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

/** What the store says of an object, without its key. */
export type Found = Omit<Stat, 'key'>

/** What is known of an upload that is there. */
export interface UploadOptions {
  /** As the store gave it. */
  id: string
  /** Kept by the object as its metadata; unknown of an upload that another put has begun. */
  writeId?: string
  /** What another put has stored of it: the ETags of whole parts of one size, from number 1 on. */
  parts?: { etags: readonly string[]; partBytes: number }
  /** How long a Complete without a clear answer is repeated; a minute, unless in tests. */
  unclearMs?: number | undefined
}

interface Part {
  sizeBytes: number
  /** Undefined until it is stored. */
  etag?: string
}

export class Upload {
  /** Of the object, without the bucket's prefix. */
  readonly key: string
  /** As the store names it. */
  readonly #at: { Bucket: string; Key: string }
  readonly #bucket: Bucket
  readonly #id: string
  readonly #writeId: string | undefined
  readonly #unclearMs: number
  readonly #parts: Part[] = []
  readonly #inFlight: Set<Promise<unknown>> = new Set()
  #failure: { error: unknown } | undefined
  #sizeBytes = 0
  #completing: Promise<Found> | undefined
  /** Whether an abort may still be sent: not when the object may be there, made of these parts. */
  #isOpen = true

  /** One that is there. */
  constructor(bucket: Bucket, key: string, options: UploadOptions) {
    const { id, writeId, parts, unclearMs = unclearMsUsual } = options
    this.#bucket = bucket
    this.#unclearMs = unclearMs
    this.#at = bucket.at(key)
    this.key = key
    this.#id = id
    this.#writeId = writeId
    for (const etag of parts?.etags ?? []) {
      this.#parts.push({ etag, sizeBytes: parts?.partBytes ?? 0 })
      this.#sizeBytes += parts?.partBytes ?? 0
    }
  }

  /** Can not be aborted, so that no upload is begun whose id nobody knows. */
  static async begin(bucket: Bucket, key: string, unclearMs?: number): Promise<Upload> {
    const writeId = randomBytes(16).toString('hex')
    const command = new CreateMultipartUploadCommand({
      ...bucket.at(key),
      ContentType: contentType,
      Metadata: { 'write-id': writeId },
    })
    const { UploadId: id } = await bucket.send(command, { what: `begin the upload of ${key}` })
    if (!id) throw broken(`An upload of ${key} was begun, but the store gave it no id.`)
    return new Upload(bucket, key, { id, writeId, unclearMs })
  }

  /** As the store calls it. */
  get id(): string {
    return this.#id
  }

  /** How many parts were begun. */
  get partCount(): number {
    return this.#parts.length
  }

  /** How many parts from the first on are stored and have that size. */
  storedParts(partBytes: number): number {
    const end = this.#parts.findIndex(
      ({ etag, sizeBytes }) => etag === undefined || sizeBytes !== partBytes,
    )
    return end < 0 ? this.#parts.length : end
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

  /** Resolves when nothing is in flight. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#inFlight, this.#completing])
  }

  /** After a failure: waits for everything in flight, then leaves nothing behind. */
  async abandon(): Promise<void> {
    await this.settled()
    if (this.#isOpen) await abortUpload(this.#bucket, this.key, this.#id)
  }

  async #addPart(
    sizeBytes: number,
    store: (number: number) => Promise<string | undefined>,
  ): Promise<void> {
    const part: Part = { sizeBytes }
    const number = this.#parts.push(part)
    this.#sizeBytes += sizeBytes
    const storing = store(number)
    this.#inFlight.add(storing)
    try {
      const etag = await storing
      if (!etag) throw broken(`The store gave no ETag for part ${number} of ${this.key}.`)
      part.etag = etag
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
    const parts = this.#parts.map(({ etag: ETag }, index) => ({ PartNumber: index + 1, ETag }))
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

  /**
   * The object, if it is the one that this upload made: by its id, or by what Complete said. Of an
   * upload that another put has begun there is only its size to go by.
   */
  async #look(answer: unknown): Promise<Found | 'unclear' | undefined> {
    const command = new HeadObjectCommand(this.#at)
    try {
      const head = await this.#bucket.send(command, { what: `look at ${this.key}` })
      const found = foundOf(head)
      const isOwn =
        this.#writeId === undefined
          ? found.size === this.#sizeBytes
          : head.Metadata?.['write-id'] === this.#writeId
      return isOwn || head.ETag === answer ? found : undefined
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
    if (this.#writeId !== undefined) return new ImageError('unavailable', text, { cause })
    return goneMeanwhile(this.key, cause)
  }

  #unclear(cause: unknown): ImageError {
    const isGone = this.#writeId === undefined && isImageError(cause, 'not_found')
    if (isGone) return this.#gone(cause)
    const text =
      `The store did not say whether ${this.key} was completed: it may have happened. ` +
      'Look at the state of the store, and try again.'
    return new ImageError('unavailable', text, { cause })
  }

  #names(): { Bucket: string; Key: string; UploadId: string } {
    return { ...this.#at, UploadId: this.#id }
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

/** What a put rejects with that was to go on with an upload that is not there any more. */
export function goneMeanwhile(key: string, cause?: unknown): ImageError {
  const text =
    `What was left of an upload of ${key} is gone: it was completed, or somebody, or a lifecycle ` +
    'rule of the bucket, has aborted it. Begin anew.'
  return new ImageError('aborted', text, { cause, reason: 'storage_unavailable' })
}

function broken(text: string): ImageError {
  return new ImageError('unavailable', text)
}
