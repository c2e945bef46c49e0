// What puts have not finished, their processes being alive or dead: multipart uploads, and objects
// of the private folder for temporaries. Foreign ones are neither shown nor touched.

import { DeleteObjectCommand, ListMultipartUploadsCommand } from '@aws-sdk/client-s3'
import { ListObjectsV2Command, type ListMultipartUploadsCommandOutput } from '@aws-sdk/client-s3'
import { type UnfinishedPut, isImageError } from '@backing-image/core'
import { abortUpload } from './abort.ts'
import type { Bucket } from './bucket.ts'
import { isKey, parseTemporaryKey, temporaryPrefix } from './segments.ts'

/** Between the object's name and the upload's id: no key holds it. */
const separator = '?upload='

/**
 * Every multipart upload to a key, and every temporary object. A store that can not list uploads
 * shows none.
 */
export async function* unfinished(bucket: Bucket): AsyncIterable<UnfinishedPut> {
  yield* unfinishedUploads(bucket)
  yield* temporaryObjects(bucket)
}

/**
 * Removes what `unfinished` has shown under that id. What is absent, and an id that is none of its
 * own, is success.
 */
export async function discard(bucket: Bucket, id: string): Promise<void> {
  const { name, uploadId } = parseId(id)
  if (uploadId !== undefined) {
    if (uploadId !== '' && keyOf(name) !== undefined) await abortUpload(bucket, name, uploadId)
  } else if (parseTemporaryKey(name) !== undefined) {
    await bucket.send(new DeleteObjectCommand(bucket.at(name)), { what: `delete ${name}` })
  }
}

export function idOf(name: string, uploadId: string): string {
  return `${name}${separator}${uploadId}`
}

/** The object's name, and the upload's id where it is one of an upload. */
export function parseId(id: string): { name: string; uploadId: string | undefined } {
  const at = id.indexOf(separator)
  if (at < 0) return { name: id, uploadId: undefined }
  return { name: id.slice(0, at), uploadId: id.slice(at + separator.length) }
}

/** The key that an object of ours, committed or temporary, is for. */
function keyOf(name: string): string | undefined {
  return isKey(name) ? name : parseTemporaryKey(name)
}

/** The uploads to all keys, or to those that begin so. */
export async function* unfinishedUploads(
  bucket: Bucket,
  beginning: string = '',
): AsyncIterable<UnfinishedPut> {
  const what = 'list the unfinished uploads'
  const where = { Bucket: bucket.name, Prefix: `${bucket.prefix}${beginning}` }
  let next: Markers | undefined
  do {
    const command = new ListMultipartUploadsCommand({ ...where, ...next })
    const page = await bucket.send(command, { what }).catch(noneWhereNotBuilt)
    for (const { Key: path = '', UploadId: uploadId, Initiated: initiated } of page.Uploads ?? []) {
      const name = path.slice(bucket.prefix.length)
      const key = path.startsWith(bucket.prefix) ? keyOf(name) : undefined
      if (key === undefined || !uploadId) continue
      yield { id: idOf(name, uploadId), key, modifiedAt: nanoseconds(initiated) }
    }
    next = following(page, next)
  } while (next)
}

type UploadsPage = Partial<ListMultipartUploadsCommandOutput>

interface Markers {
  KeyMarker: string
  UploadIdMarker?: string
}

function noneWhereNotBuilt(error: unknown): UploadsPage {
  if (isImageError(error, 'unimplemented')) return {}
  throw error
}

/** Where the next page begins; undefined after the last, and where the store runs in circles. */
function following(page: UploadsPage, last: Markers | undefined): Markers | undefined {
  const { IsTruncated, NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = page
  if (!IsTruncated || !KeyMarker) return undefined
  if (KeyMarker === last?.KeyMarker && UploadIdMarker === last.UploadIdMarker) return undefined
  return { KeyMarker, ...(UploadIdMarker && { UploadIdMarker }) }
}

async function* temporaryObjects(bucket: Bucket): AsyncIterable<UnfinishedPut> {
  const what = 'list the temporary objects'
  const where = { Bucket: bucket.name, Prefix: `${bucket.prefix}${temporaryPrefix}` }
  let next: { ContinuationToken: string } | undefined
  do {
    const page = await bucket.send(new ListObjectsV2Command({ ...where, ...next }), { what })
    for (const { Key: path = '', LastModified: modified } of page.Contents ?? []) {
      const name = path.slice(bucket.prefix.length)
      const key = parseTemporaryKey(name)
      if (key !== undefined) yield { id: name, key, modifiedAt: nanoseconds(modified) }
    }
    const token = page.IsTruncated ? page.NextContinuationToken : undefined
    next = token === undefined ? undefined : { ContinuationToken: token }
  } while (next)
}

/** Nothing is known to be old without a date. */
function nanoseconds(date: Date | undefined): bigint {
  return BigInt(date?.getTime() ?? Date.now()) * 1_000_000n
}
