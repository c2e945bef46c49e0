// What each request does to the medium, and its answer.

import { createHash } from 'node:crypto'
import { type Condition, type Medium, type Metadata, Refusal } from './medium.ts'
import { type StoredObject } from './medium.ts'
import type { Seen } from './request.ts'
import { element, field, parsePartList, xmlDocument } from './xml.ts'

export interface Answer {
  status: number
  headers?: Record<string, string>
  body?: string | Buffer
  /** As Content-Length of an answer to HEAD. */
  sizeBytes?: number
}

export function errorAnswer(status: number, code: string, message: string = code): Answer {
  const body = xmlDocument('Error', field('Code', code), field('Message', message))
  return { status, headers: { 'content-type': 'application/xml' }, body }
}

function xml(name: string, ...children: string[]): Answer {
  const headers = { 'content-type': 'application/xml' }
  return { status: 200, headers, body: xmlDocument(name, ...children) }
}

function unquoted(header: string | string[] | undefined): string | undefined {
  return header === undefined ? undefined : String(header).replaceAll('"', '')
}

export function conditionOf({ headers }: Seen): Condition {
  return {
    ifNoneMatch: unquoted(headers['if-none-match']),
    ifMatch: unquoted(headers['if-match']),
  }
}

function metadataOf({ headers }: Seen): Metadata {
  const metadata: Metadata = {}
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith('x-amz-meta-')) metadata[name] = String(value)
  }
  const names = Object.entries(metadata).flat().join('')
  if (names.length > 2048) throw new Refusal(400, 'MetadataTooLarge')
  return metadata
}

/** First and last byte; undefined where there is no range. */
function rangeOf(range: string | undefined, sizeBytes: number): [number, number] | undefined {
  if (range === undefined) return undefined
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range) ?? []
  if (first === '' && last === '') throw new Refusal(400, 'InvalidArgument')
  const start = first === '' ? Math.max(0, sizeBytes - Number(last)) : Number(first)
  const end = first === '' || last === '' ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1)
  if (start >= sizeBytes || end < start) throw new Refusal(416, 'InvalidRange')
  return [start, end]
}

function objectHeaders(object: StoredObject): Record<string, string> {
  return {
    ...object.metadata,
    etag: `"${object.etag}"`,
    'last-modified': new Date(object.modifiedMs).toUTCString(),
    'accept-ranges': 'bytes',
  }
}

function get(medium: Medium, seen: Seen, { ifMatch, ifNoneMatch }: Condition): Answer {
  const object = medium.object(seen.key)
  if (ifMatch !== undefined && ifMatch !== object.etag) {
    throw new Refusal(412, 'PreconditionFailed')
  }
  const headers = objectHeaders(object)
  if (ifNoneMatch === object.etag) return { status: 304, headers }
  const disposition = seen.query.get('response-content-disposition')
  if (disposition !== null) headers['content-disposition'] = disposition
  const range = rangeOf(seen.headers.range, object.sizeBytes)
  if (!range) return { status: 200, headers, body: object.body, sizeBytes: object.sizeBytes }
  const [start, end] = range
  headers['content-range'] = `bytes ${start}-${end}/${object.sizeBytes}`
  const body = object.body.subarray(start, end + 1)
  return { status: 206, headers, body, sizeBytes: end - start + 1 }
}

/** Byte order, as far as keys have no characters beyond U+FFFF. */
function byBytes(one: string, other: string): number {
  if (one === other) return 0
  return one < other ? -1 : 1
}

export interface Paging {
  /** The most that a page holds, whatever is asked for. */
  pageMax: number
}

function listObjects(medium: Medium, { query }: Seen, { pageMax }: Paging): Answer {
  const prefix = query.get('prefix') ?? ''
  const token = query.get('continuation-token')
  const after = token === null ? query.get('start-after') : Buffer.from(token, 'hex').toString()
  const most = Math.min(pageMax, Number(query.get('max-keys') ?? 1000))
  if (query.has('delimiter')) throw new Refusal(501, 'NotImplemented')
  const keys = [...medium.objects.keys()]
    .filter((key) => key.startsWith(prefix) && (after === null || byBytes(key, after) > 0))
    .toSorted(byBytes)
  const page = keys.slice(0, most)
  const isTruncated = keys.length > page.length
  const next = Buffer.from(page.at(-1) ?? '').toString('hex')
  return xml(
    'ListBucketResult',
    field('Prefix', prefix),
    field('KeyCount', page.length),
    field('MaxKeys', most),
    field('IsTruncated', isTruncated),
    isTruncated ? field('NextContinuationToken', next) : '',
    ...page.map((key) => {
      const { etag, sizeBytes, modifiedMs } = medium.object(key)
      return element(
        'Contents',
        field('Key', key),
        field('LastModified', new Date(modifiedMs).toISOString()),
        field('ETag', `"${etag}"`),
        field('Size', sizeBytes),
        field('StorageClass', 'STANDARD'),
      )
    }),
  )
}

function listUploads(medium: Medium, { query }: Seen, { pageMax }: Paging): Answer {
  const prefix = query.get('prefix') ?? ''
  const keyMarker = query.get('key-marker') ?? ''
  const idMarker = query.get('upload-id-marker') ?? ''
  const most = Math.min(pageMax, Number(query.get('max-uploads') ?? 1000))
  const uploads = [...medium.uploads.values()]
    .filter(({ key }) => key.startsWith(prefix))
    .toSorted((one, other) => byBytes(one.key, other.key) || byBytes(one.uploadId, other.uploadId))
    .filter(({ key, uploadId }) => {
      const order = byBytes(key, keyMarker)
      // Without an id the marker's key is left out whole.
      return order > 0 || (order === 0 && idMarker !== '' && byBytes(uploadId, idMarker) > 0)
    })
  const page = uploads.slice(0, most)
  const last = page.at(-1)
  const isTruncated = uploads.length > page.length
  return xml(
    'ListMultipartUploadsResult',
    field('IsTruncated', isTruncated),
    last && isTruncated ? field('NextKeyMarker', last.key) : '',
    last && isTruncated ? field('NextUploadIdMarker', last.uploadId) : '',
    ...page.map(({ key, uploadId, initiatedMs }) =>
      element(
        'Upload',
        field('Key', key),
        field('UploadId', uploadId),
        field('Initiated', new Date(initiatedMs).toISOString()),
      ),
    ),
  )
}

function listParts(medium: Medium, { key, query }: Seen, { pageMax }: Paging): Answer {
  const { parts } = medium.upload(key, query.get('uploadId') ?? '')
  const marker = Number(query.get('part-number-marker') ?? 0)
  const most = Math.min(pageMax, Number(query.get('max-parts') ?? 1000))
  const rest = [...parts].filter(([number]) => number > marker).toSorted(([a], [b]) => a - b)
  const page = rest.slice(0, most)
  const isTruncated = rest.length > page.length
  return xml(
    'ListPartsResult',
    field('IsTruncated', isTruncated),
    isTruncated ? field('NextPartNumberMarker', page.at(-1)?.[0] ?? 0) : '',
    ...page.map(([number, { etag, sizeBytes, modifiedMs }]) =>
      element(
        'Part',
        field('PartNumber', number),
        field('LastModified', new Date(modifiedMs).toISOString()),
        field('ETag', `"${etag}"`),
        field('Size', sizeBytes),
      ),
    ),
  )
}

function copyPart(medium: Medium, seen: Seen): Answer {
  const { headers, key, query } = seen
  const source = decodeURIComponent(String(headers['x-amz-copy-source'])).replace(/^\//, '')
  const object = medium.object(source.slice(source.indexOf('/') + 1))
  const expected = unquoted(headers['x-amz-copy-source-if-match'])
  if (expected !== undefined && expected !== object.etag) {
    throw new Refusal(412, 'PreconditionFailed')
  }
  const asked = headers['x-amz-copy-source-range']
  const range = rangeOf(asked === undefined ? undefined : String(asked), object.sizeBytes)
  const body = range ? object.body.subarray(range[0], range[1] + 1) : object.body
  const number = Number(query.get('partNumber'))
  const part = medium.putPart(key, query.get('uploadId') ?? '', number, Buffer.from(body))
  return xml(
    'CopyPartResult',
    field('ETag', `"${part.etag}"`),
    field('LastModified', new Date(part.modifiedMs).toISOString()),
  )
}

/** What the client says of its body must be true: so one notices when its memory was reused. */
export function assertBody({ headers }: Seen, body: Buffer): void {
  const sha256 = String(headers['x-amz-content-sha256'] ?? '')
  if (/^[0-9a-f]{64}$/.test(sha256)) {
    const found = createHash('sha256').update(body).digest('hex')
    if (found !== sha256) throw new Refusal(400, 'XAmzContentSHA256Mismatch')
  }
  const digest = headers['content-md5']
  if (digest !== undefined && createHash('md5').update(body).digest('base64') !== digest) {
    throw new Refusal(400, 'BadDigest')
  }
}

/** Does what the request asks for. Throws a Refusal. */
export function perform(
  medium: Medium,
  seen: Seen,
  body: Buffer,
  { pageMax, isConditional }: Paging & { isConditional: boolean },
): Answer {
  const { key, query } = seen
  const uploadId = query.get('uploadId') ?? ''
  const condition = isConditional ? conditionOf(seen) : {}
  switch (seen.operation) {
    case 'HeadBucket':
      return { status: 200 }
    case 'ListObjectsV2':
      return listObjects(medium, seen, { pageMax })
    case 'ListMultipartUploads':
      return listUploads(medium, seen, { pageMax })
    case 'ListParts':
      return listParts(medium, seen, { pageMax })
    case 'PutObject': {
      const { etag } = medium.put(key, body, metadataOf(seen), condition)
      return { status: 200, headers: { etag: `"${etag}"` } }
    }
    case 'GetObject':
    case 'HeadObject':
      return get(medium, seen, condition)
    case 'DeleteObject':
      medium.objects.delete(key)
      return { status: 204 }
    case 'CreateMultipartUpload': {
      const begun = medium.begin(key, metadataOf(seen))
      return xml(
        'InitiateMultipartUploadResult',
        field('Bucket', seen.bucket),
        field('Key', key),
        field('UploadId', begun.uploadId),
      )
    }
    case 'UploadPart': {
      const { etag } = medium.putPart(key, uploadId, Number(query.get('partNumber')), body)
      return { status: 200, headers: { etag: `"${etag}"` } }
    }
    case 'UploadPartCopy':
      return copyPart(medium, seen)
    case 'CompleteMultipartUpload': {
      const list = parsePartList(body.toString())
      const { etag } = medium.complete(key, uploadId, list, condition)
      return xml(
        'CompleteMultipartUploadResult',
        field('Bucket', seen.bucket),
        field('Key', key),
        field('ETag', `"${etag}"`),
      )
    }
    case 'AbortMultipartUpload':
      medium.abort(key, uploadId)
      return { status: 204 }
    case 'Unknown':
      break
  }
  throw new Refusal(501, 'NotImplemented')
}
