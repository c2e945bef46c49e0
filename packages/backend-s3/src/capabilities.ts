// What a store can do is tried when it is opened: servers that call themselves S3 differ most in what
// matters most here. A trial can only disprove; the documents list the stores that were tested.

import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCopyCommand,
  type GetObjectCommandOutput,
} from '@aws-sdk/client-s3'
import { ImageError, canaryKey, isImageError, type Finding } from '@backing-image/core'
import { randomBytes } from 'node:crypto'
import type { Bucket } from './bucket.ts'
import { raceExclusively } from './race.ts'
import { temporaryKey } from './segments.ts'
import { unlessAborted } from './source.ts'

const probeTimeoutMs = 25_000

export interface Capabilities {
  findings: Finding[]
  /** `If-None-Match: *` lets exactly one of several writers win. */
  canCreateExclusively: boolean
  /** UploadPartCopy works, which joins the segments of the largest objects. */
  canJoin: boolean
  /** Why this key may not write; undefined where it may. */
  writeDenial: string | undefined
}

/**
 * Tries the store under keys of its own, which it removes. Rejects with `unavailable` when the store
 * does not answer in time, and with what it says when it may not even be read.
 */
export async function probe(bucket: Bucket): Promise<Capabilities> {
  const signal = AbortSignal.timeout(probeTimeoutMs)
  try {
    return await new Trial(bucket, signal).run()
  } catch (error) {
    if (!signal.aborted) throw error
    const text =
      `The S3 endpoint ${bucket.endpoint} is too slow: a trial of bucket "${bucket.name}" with ` +
      `some 60 small requests took over ${probeTimeoutMs / 1000} s.`
    throw new ImageError('unavailable', text, { cause: error, reason: 'storage_unavailable' })
  }
}

class Trial {
  readonly #bucket: Bucket
  readonly #signal: AbortSignal
  readonly #id: string = randomBytes(8).toString('hex')
  /** A key of nobody's: what a process leaves that dies here is swept after an hour. */
  readonly #name: string = canaryKey()
  readonly #findings: Finding[] = []
  readonly #keys = new Set<string>()

  constructor(bucket: Bucket, signal: AbortSignal) {
    this.#bucket = bucket
    this.#signal = signal
  }

  async run(): Promise<Capabilities> {
    await this.#list()
    try {
      const writeDenial = await this.#write()
      if (writeDenial !== undefined) {
        const none = { canCreateExclusively: false, canJoin: false }
        return { findings: this.#findings, writeDenial, ...none }
      }
      await this.#read()
      const canCreateExclusively = await this.#race()
      const canJoin = await this.#multipart()
      return { findings: this.#findings, writeDenial, canCreateExclusively, canJoin }
    } finally {
      await this.#tidy()
    }
  }

  #key(number: number): string {
    const key = temporaryKey(this.#id, this.#name, number)
    this.#keys.add(key)
    return key
  }

  #found(what: string, level: Finding['level'], text: string): void {
    this.#findings.push({ what, level, text })
  }

  async #list(): Promise<void> {
    const { name, prefix } = this.#bucket
    const command = new ListObjectsV2Command({ Bucket: name, Prefix: prefix, MaxKeys: 1 })
    await this.#bucket.send(command, { what: `list the bucket "${name}"`, signal: this.#signal })
  }

  /** A sentence when the key may only read; every other failure is one. */
  async #write(): Promise<string | undefined> {
    const at = this.#bucket.at(this.#key(0))
    const what = `write and delete in bucket "${this.#bucket.name}"`
    const options = { what, signal: this.#signal }
    try {
      await this.#bucket.send(new PutObjectCommand({ ...at, Body: 'probe' }), options)
      await this.#bucket.send(new DeleteObjectCommand(at), options)
      await this.#bucket.send(new PutObjectCommand({ ...at, Body: 'probe' }), options)
      this.#found('permissions', 'ok', 'objects can be listed, written and deleted')
      return undefined
    } catch (error) {
      if (!isImageError(error, 'permission_denied')) throw error
      this.#found('permissions', 'FAIL', error.message)
      return error.message
    }
  }

  /** Ranges, and conditions on reads: a download that was cut goes on by them. */
  async #read(): Promise<void> {
    const at = this.#bucket.at(this.#key(0))
    const options = { what: 'read a part of an object', signal: this.#signal }
    const ranged = new GetObjectCommand({ ...at, Range: 'bytes=1-3' })
    const answer = await this.#bucket.send(ranged, options)
    const part = await this.#textOf(answer)
    const isPart = answer.$metadata.httpStatusCode === 206 && part === 'rob'
    if (isPart) this.#found('range reads', 'ok', 'a range gives its bytes')
    else this.#found('range reads', 'FAIL', 'a range gives other bytes; ranged downloads will fail')
    const conditional = new GetObjectCommand({ ...at, IfMatch: '"0123456789abcdef"' })
    try {
      const ignored = await this.#bucket.send(conditional, options)
      await this.#textOf(ignored)
      this.#found('If-Match', 'warn', 'it is ignored on reads; ETags are compared instead')
    } catch (error) {
      if (!isImageError(error, 'already_exists')) throw error
      this.#found('If-Match', 'ok', 'a read can be bound to one content')
    }
  }

  /** A body may be cut, or never come, after its head was fine. */
  async #textOf({ Body }: GetObjectCommandOutput): Promise<string | undefined> {
    try {
      return Body && (await unlessAborted(Body.transformToString(), this.#signal))
    } catch (error) {
      this.#signal.throwIfAborted()
      throw this.#bucket.explained(error, 'read an object of the trial')
    }
  }

  async #race(): Promise<boolean> {
    const fault = await raceExclusively(this.#bucket, (number) => this.#key(number), this.#signal)
    const what = 'exclusive creation'
    if (fault === undefined) {
      this.#found(what, 'ok', 'If-None-Match: * lets exactly one of 8 racing writers win')
      return true
    }
    // What that means depends on the operator's promise, which the caller knows.
    this.#found(what, 'FAIL', fault)
    return false
  }

  async #multipart(): Promise<boolean> {
    const signal = this.#signal
    const target = this.#bucket.at(this.#key(1))
    const begin = new CreateMultipartUploadCommand(target)
    const options = { what: 'try a multipart upload', signal }
    const { UploadId } = await this.#bucket.send(begin, options)
    const part = { ...target, UploadId, PartNumber: 1 }
    const { Bucket: name, Key: source } = this.#bucket.at(this.#key(0))
    const CopySource = [name, ...source.split('/')].map(encodeURIComponent).join('/')
    const copy = this.#bucket.send(new UploadPartCopyCommand({ ...part, CopySource }), options)
    const failure = await copy.then(
      () => undefined,
      (error: unknown) => error,
    )
    const abort = new AbortMultipartUploadCommand({ ...target, UploadId })
    await this.#bucket.send(abort, { what: 'abort a multipart upload', signal })
    this.#found('multipart uploads', 'ok', 'they can be begun and aborted')
    if (failure === undefined) {
      this.#found('UploadPartCopy', 'ok', 'the store joins objects into larger ones')
    } else if (isImageError(failure, 'unavailable') || signal.aborted) {
      throw failure
    } else {
      const limit = 'images are limited to the size of its plain multipart uploads'
      this.#found('UploadPartCopy', 'warn', `the store can not join objects; ${limit}`)
    }
    return failure === undefined
  }

  /** What stays behind, because the store is gone or forbids it, is found by the sweeper. */
  async #tidy(): Promise<void> {
    const deletes = [...this.#keys].map((key) => {
      const command = new DeleteObjectCommand(this.#bucket.at(key))
      return this.#bucket.send(command, { what: `delete ${key}` })
    })
    await Promise.allSettled(deletes)
  }
}
