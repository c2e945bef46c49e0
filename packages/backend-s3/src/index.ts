// The storage backend over one S3 bucket: the verbs. Keys are names of objects under a prefix.

import { DeleteObjectCommand, GetObjectCommand, HeadBucketCommand } from '@aws-sdk/client-s3'
import { HeadObjectCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { ImageError, assertKey, assertPrefix, isImageError } from '@backing-image/core'
import type {
  Backend,
  Bytes,
  Finding,
  GetOptions,
  Presign,
  PresignOptions,
} from '@backing-image/core'
import type { Probe, PutOptions, Remains, Resumable, Scan } from '@backing-image/core'
import type { Scanned, Stat, Unfinished, UnfinishedPut } from '@backing-image/core'
import { Bucket, type BucketOptions } from './bucket.ts'
import { Budget } from './budget.ts'
import { type Capabilities, probe } from './capabilities.ts'
import { type Exclusion, putExclusive } from './exclusive.ts'
import { listObjects, scanObjects } from './list.ts'
import { type Place, putStream } from './multipart.ts'
import { type ReadLimits, readObject } from './read.ts'
import { remainsOf } from './remains.ts'
import { discard, unfinished } from './unfinished.ts'
import { foundOf } from './upload.ts'

export type { BucketOptions } from './bucket.ts'
export type { ConnectionOptions } from './connection.ts'

/** SigV4 allows no more. */
const linkSecondsMax = 7 * 24 * 60 * 60
/** What all puts of the process may hold together. */
const budget = new Budget()

export interface S3Options extends BucketOptions {
  /** The operator's promise that no other process writes to this bucket and prefix. */
  singleWriter?: boolean
  /** How long a read bears silence; for tests. */
  readLimits?: ReadLimits
}

/** Keeps the contract of Backend over one bucket and prefix, which several may share. */
export class S3Backend implements Backend, Unfinished, Resumable, Probe, Presign, Scan {
  readonly name = 's3'
  readonly findings: readonly Finding[]
  readonly writeRefusal: string | undefined
  readonly #bucket: Bucket
  readonly #place: Place & { tidying: Set<Promise<void>> }
  readonly #exclusion: Exclusion
  readonly #readLimits: ReadLimits

  private constructor(bucket: Bucket, options: S3Options, found: Capabilities) {
    this.#bucket = bucket
    this.#place = { bucket, budget, tidying: new Set(), cannotJoin: !found.canJoin }
    this.#exclusion = found.canCreateExclusively ? 'conditional' : 'process'
    this.#readLimits = options.readLimits ?? {}
    const isSafe = found.canCreateExclusively || options.singleWriter === true
    this.writeRefusal = found.writeDenial ?? (isSafe ? undefined : refusal(bucket, found.findings))
    this.findings = found.findings.map((finding) =>
      finding.what === exclusiveCreation && !found.canCreateExclusively
        ? explained(finding, isSafe)
        : finding,
    )
  }

  /**
   * Tries what the store can do, which takes some 60 small requests. Rejects with `unavailable` when
   * it does not answer, with `permission_denied` when it refuses the access key, and with
   * `failed_precondition` when there is no such bucket.
   */
  static async open(options: S3Options): Promise<S3Backend> {
    const bucket = new Bucket(options)
    try {
      return new S3Backend(bucket, options, await probe(bucket))
    } catch (error) {
      bucket.close()
      throw error
    }
  }

  /** Ends this process's part; call it when nothing is under way. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#place.tidying)
    this.#bucket.close()
  }

  async put(key: string, bytes: Bytes, options: PutOptions = {}): Promise<Stat> {
    assertKey(key)
    options.signal?.throwIfAborted()
    this.#assertWritable()
    return options.ifAbsent
      ? await putExclusive(this.#bucket, this.#exclusion, key, bytes, options)
      : await putStream(this.#place, key, bytes, options)
  }

  async get(key: string, options: GetOptions = {}): Promise<Bytes> {
    assertKey(key)
    return await this.#sure(() => readObject(this.#bucket, key, options, this.#readLimits))
  }

  async stat(key: string): Promise<Stat> {
    assertKey(key)
    const what = `look at ${key}`
    try {
      const head = await this.#sure(() =>
        this.#bucket.send(new HeadObjectCommand(this.#bucket.at(key)), { what }),
      )
      return { key, ...foundOf(head) }
    } catch (error) {
      if (isImageError(error, 'not_found')) await this.#assertBucket(what)
      throw error
    }
  }

  /** A store that can not create exclusively may miss an object that is just being replaced: Swift does. */
  async #sure<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask()
    } catch (error) {
      if (this.#exclusion === 'conditional' || !isImageError(error, 'not_found')) throw error
      return await ask()
    }
  }

  /** An answer to HEAD does not say whether it is the object or the whole bucket that is missing. */
  async #assertBucket(what: string): Promise<void> {
    const command = new HeadBucketCommand({ Bucket: this.#bucket.name })
    try {
      await this.#bucket.send(command, { what })
    } catch (error) {
      // Who may not look at the bucket has been told of the object.
      if (isImageError(error, 'permission_denied', 'unimplemented')) return
      if (!isImageError(error, 'not_found')) throw error
      const { name, endpoint } = this.#bucket
      const text = `There is no bucket "${name}" at ${endpoint} any more. Make it, or correct S3_BUCKET.`
      const reason = 'storage_unavailable'
      throw new ImageError('failed_precondition', text, { cause: error, reason })
    }
  }

  async *list(prefix: string): AsyncIterable<Stat> {
    assertPrefix(prefix)
    yield* listObjects(this.#bucket, prefix)
  }

  async *scan(prefix: string, known: ReadonlyMap<string, string>): AsyncIterable<Scanned> {
    assertPrefix(prefix)
    yield* scanObjects(this.#bucket, prefix, known)
  }

  async delete(key: string): Promise<void> {
    assertKey(key)
    this.#assertWritable()
    const command = new DeleteObjectCommand(this.#bucket.at(key))
    try {
      await this.#bucket.send(command, { what: `delete ${key}` })
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
    }
  }

  async *unfinished(): AsyncIterable<UnfinishedPut> {
    yield* unfinished(this.#bucket)
  }

  async discard(id: string): Promise<void> {
    this.#assertWritable()
    await discard(this.#bucket, id)
  }

  /** Whose an upload was the store does not tell. */
  async remains(key: string, _: string, durableBytes: number): Promise<Remains | undefined> {
    assertKey(key)
    return await remainsOf(this.#place, key, durableBytes)
  }

  /** Rejects with `invalid_argument` for a link over seven days. */
  async presign(key: string, options: PresignOptions): Promise<string> {
    assertKey(key)
    const { expiresSeconds, disposition } = options
    if (
      !(Number.isInteger(expiresSeconds) && 1 <= expiresSeconds && expiresSeconds <= linkSecondsMax)
    ) {
      const text = `A link is good for 1 to ${linkSecondsMax} seconds, not ${expiresSeconds}.`
      throw new ImageError('invalid_argument', text)
    }
    const command = new GetObjectCommand({
      ...this.#bucket.at(key),
      ResponseContentDisposition: disposition,
      ResponseContentType: 'application/octet-stream',
    })
    return await getSignedUrl(this.#bucket.client, command, { expiresIn: expiresSeconds })
  }

  #assertWritable(): void {
    if (this.writeRefusal === undefined) return
    throw new ImageError('failed_precondition', this.writeRefusal, { reason: 'forbidden' })
  }
}

const exclusiveCreation = 'exclusive creation'

function refusal({ endpoint, name }: Bucket, findings: Finding[]): string {
  const why = findings.find(({ what }) => what === exclusiveCreation)?.text ?? 'it was not tried'
  return (
    `Nothing is written to bucket "${name}" at ${endpoint}: the store can not create objects ` +
    `exclusively (${why}), so that several servers would overwrite each other's images. With one ` +
    'server only, and nobody else writing there, set S3_SINGLE_WRITER=true.'
  )
}

function explained({ what, text }: Finding, isSingleWriter: boolean): Finding {
  return isSingleWriter
    ? { what, level: 'warn', text: `${text}; S3_SINGLE_WRITER=true: one replica only` }
    : { what, level: 'FAIL', text: `${text}; read-only. S3_SINGLE_WRITER=true allows one replica` }
}
