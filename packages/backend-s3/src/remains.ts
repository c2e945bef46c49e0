// What the store holds of uploads that nobody has finished, and how a put goes on with one of them: by
// more parts of the same size, after those that are whole.

import { ListPartsCommand, type ListPartsCommandOutput } from '@aws-sdk/client-s3'
import { type Remains, isImageError } from '@backing-image/core'
import type { Place } from './multipart.ts'
import { partSizes, planFor } from './segments.ts'
import { parseId, unfinishedUploads } from './unfinished.ts'
import { Upload, goneMeanwhile } from './upload.ts'

/** So many uploads of one key are looked into, the newest. */
const uploadsMax = 16

/** What a put goes on with. */
export interface Begun {
  upload: Upload
  /** Of all that is in it, and all that follows but the last. */
  partBytes: number
}

/** Parts from number 1 on, none missing, all of one size. */
interface WholeParts {
  partBytes: number
  etags: string[]
}

/**
 * See Resumable: of the uploads to `key` that hold so much the newest, by the store's own clock.
 * Undefined where the store can not list uploads, and for uploads with segments.
 */
export async function remainsOf(
  place: Place,
  key: string,
  durableBytes: number,
): Promise<Remains | undefined> {
  if (durableBytes <= 0) return undefined
  const uploads = []
  for await (const upload of unfinishedUploads(place.bucket, key)) {
    if (parseId(upload.id).name === key) uploads.push(upload)
  }
  const newestFirst = uploads.toSorted((one, other) => (one.modifiedAt < other.modifiedAt ? 1 : -1))
  for (const { id } of newestFirst.slice(0, uploadsMax)) {
    const { etags, partBytes } = await wholeParts(place, id)
    const offset = etags.length * partBytes
    if (offset >= durableBytes) return { id, offset }
  }
  return undefined
}

/** The upload with those of its parts that the remains tell of; `aborted` where it has them no more. */
export async function goOn(
  place: Place,
  key: string,
  { id, offset }: Remains,
  signal: AbortSignal | undefined,
): Promise<Begun> {
  const { name, uploadId } = parseId(id)
  const { etags, partBytes } = await wholeParts(place, id, signal)
  const count = offset / partBytes
  const isThere = name === key && Number.isInteger(count) && count > 0 && count <= etags.length
  if (!uploadId || !isThere) throw goneMeanwhile(key)
  const parts = { etags: etags.slice(0, count), partBytes }
  const { bucket, unclearMs } = place
  return { upload: new Upload(bucket, key, { id: uploadId, parts, unclearMs }), partBytes }
}

/** None for what is no upload, and for one that a put of ours has not made so, or not without segments. */
async function wholeParts(place: Place, id: string, signal?: AbortSignal): Promise<WholeParts> {
  const { plan } = place
  const found = await firstParts(place, id, signal)
  const isOurs = partSizes(plan).includes(found.partBytes)
  return isOurs && found.etags.length < planFor(0, plan).partsMax ? found : { ...found, etags: [] }
}

async function firstParts(place: Place, id: string, signal?: AbortSignal): Promise<WholeParts> {
  const { name, uploadId } = parseId(id)
  const found: WholeParts = { partBytes: 0, etags: [] }
  let marker: string | undefined
  do {
    const page = await partsPage(place, { name, uploadId, marker }, signal)
    for (const { PartNumber: number, ETag: etag, Size: size = 0 } of page.Parts ?? []) {
      if (number === 1) found.partBytes = size
      if (number !== found.etags.length + 1 || size !== found.partBytes || !etag) return found
      found.etags.push(etag)
    }
    const next = page.IsTruncated ? page.NextPartNumberMarker : undefined
    // A store may run in circles.
    marker = next === marker ? undefined : next
  } while (marker !== undefined)
  return found
}

async function partsPage(
  { bucket }: Place,
  from: { name: string; uploadId: string | undefined; marker: string | undefined },
  signal: AbortSignal | undefined,
): Promise<Partial<ListPartsCommandOutput>> {
  const { name, uploadId, marker } = from
  if (!uploadId) return {}
  const command = new ListPartsCommand({
    ...bucket.at(name),
    UploadId: uploadId,
    ...(marker === undefined ? {} : { PartNumberMarker: marker }),
  })
  try {
    return await bucket.send(command, { what: `list the parts of ${name}`, signal })
  } catch (error) {
    // Completed or aborted meanwhile; or a store that does not list parts.
    if (isImageError(error, 'not_found', 'unimplemented')) return {}
    throw error
  }
}
