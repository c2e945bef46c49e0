// What the fake server keeps: objects, and multipart uploads that are not complete.

import { createHash } from 'node:crypto'

/** An answer that is an error, as S3 words it. */
export class Refusal extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string = `This is ${code}.`) {
    super(message)
    this.status = status
    this.code = code
  }
}

export type Metadata = Record<string, string>

export interface StoredObject {
  body: Buffer
  sizeBytes: number
  /** Without quotes. */
  etag: string
  modifiedMs: number
  metadata: Metadata
}

export type StoredPart = Omit<StoredObject, 'metadata'>

export interface StoredUpload {
  key: string
  uploadId: string
  initiatedMs: number
  metadata: Metadata
  parts: Map<number, StoredPart>
}

/** What a request says of the object that it expects. */
export interface Condition {
  ifNoneMatch?: string | undefined
  ifMatch?: string | undefined
}

export interface MediumOptions {
  /** What every part but the last must have; S3 says 5 MiB. */
  partMinBytes: number
  /** A part that ends after its upload was aborted brings the upload back, as some servers do. */
  revives: boolean
  /** A Complete of an upload that is complete is a success, as some servers do. */
  completesAgain: boolean
}

function md5(body: Uint8Array): string {
  return createHash('md5').update(body).digest('hex')
}

export class Medium {
  readonly objects: Map<string, StoredObject> = new Map()
  readonly uploads: Map<string, StoredUpload> = new Map()
  readonly options: MediumOptions
  readonly #aborted = new Map<string, StoredUpload>()
  readonly #complete = new Map<string, string>()
  #count = 0

  constructor(options: MediumOptions) {
    this.options = options
  }

  put(key: string, body: Buffer, metadata: Metadata, condition: Condition = {}): StoredObject {
    this.assertCondition(key, condition)
    const object = { ...this.#part(body), metadata }
    this.objects.set(key, object)
    return object
  }

  object(key: string): StoredObject {
    const object = this.objects.get(key)
    if (!object) throw new Refusal(404, 'NoSuchKey')
    return object
  }

  begin(key: string, metadata: Metadata): StoredUpload {
    this.#count += 1
    const uploadId = `upload-${this.#count}-${md5(Buffer.from(key)).slice(0, 8)}`
    const initiatedMs = Date.now()
    const upload = { key, uploadId, initiatedMs, metadata, parts: new Map<number, StoredPart>() }
    this.uploads.set(uploadId, upload)
    return upload
  }

  upload(key: string, uploadId: string): StoredUpload {
    const upload = this.uploads.get(uploadId)
    if (upload?.key !== key) throw new Refusal(404, 'NoSuchUpload')
    return upload
  }

  putPart(key: string, uploadId: string, partNumber: number, body: Buffer): StoredPart {
    const late = this.#aborted.get(uploadId)
    if (late && this.options.revives) this.uploads.set(uploadId, late)
    const upload = this.upload(key, uploadId)
    if (!(partNumber >= 1 && partNumber <= 10_000)) throw new Refusal(400, 'InvalidArgument')
    const part = this.#part(body)
    upload.parts.set(partNumber, part)
    return part
  }

  abort(key: string, uploadId: string): void {
    const upload = this.upload(key, uploadId)
    this.uploads.delete(uploadId)
    this.#aborted.set(uploadId, { ...upload, parts: new Map() })
  }

  complete(
    key: string,
    uploadId: string,
    list: { partNumber: number; etag: string }[],
    condition: Condition,
  ): StoredObject {
    if (this.options.completesAgain && this.#complete.get(uploadId) === key) return this.object(key)
    const upload = this.upload(key, uploadId)
    if (list.length === 0) throw new Refusal(400, 'MalformedXML')
    const parts = list.map(({ partNumber, etag }, index) => {
      const part = upload.parts.get(partNumber)
      if (part?.etag !== etag) throw new Refusal(400, 'InvalidPart')
      if (partNumber <= (list[index - 1]?.partNumber ?? 0)) {
        throw new Refusal(400, 'InvalidPartOrder')
      }
      const isLast = index === list.length - 1
      if (!isLast && part.sizeBytes < this.options.partMinBytes) {
        throw new Refusal(400, 'EntityTooSmall')
      }
      return part
    })
    this.assertCondition(key, condition)
    const digests = Buffer.concat(parts.map(({ etag }) => Buffer.from(etag, 'hex')))
    const object: StoredObject = {
      body: Buffer.concat(parts.map(({ body }) => body)),
      sizeBytes: parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      etag: `${md5(digests)}-${parts.length}`,
      modifiedMs: Date.now(),
      metadata: upload.metadata,
    }
    this.objects.set(key, object)
    this.uploads.delete(uploadId)
    this.#complete.set(uploadId, key)
    return object
  }

  assertCondition(key: string, { ifNoneMatch, ifMatch }: Condition): void {
    const object = this.objects.get(key)
    if (ifNoneMatch === '*' && object) throw new Refusal(412, 'PreconditionFailed')
    if (ifMatch !== undefined) {
      if (!object) throw new Refusal(404, 'NoSuchKey')
      if (ifMatch !== object.etag) throw new Refusal(412, 'PreconditionFailed')
    }
  }

  #part(body: Buffer): StoredPart {
    return { body, sizeBytes: body.length, etag: md5(body), modifiedMs: Date.now() }
  }
}
