// What does not fit into the parts of one multipart upload is written as segments: objects of a
// private folder, each copied by the store into one more part of the upload, and then deleted.
//
//   <prefix>.tmp/<id>/<key with "~" for "/">/<n>     no key may begin so: no verb shows them

import { ImageError, assertKey, isImageError } from '@backing-image/core'

export const temporaryPrefix = '.tmp/'
const pattern = /^\.tmp\/[0-9a-f]{16}\/([^/]+)\/[0-9]{1,6}$/

const mebibyte = 1024 * 1024
const gibibyte = 1024 * mebibyte

/** The largest object that S3 stores, in bytes. */
const objectBytesMax = 5 * 1024 * gibibyte
/** The largest source that the store copies into a part, in bytes. */
const copyBytesMax = 5 * gibibyte
const partNumberMax = 10_000

/** How one put is cut into parts. */
export interface Plan {
  partBytes: number
  /** So many parts are uploaded as such; those after them, up to 10,000, are copies of segments. */
  partsMax: number
}

/**
 * Parts of 8 MiB, or of 16 MiB where `sizeBytes`, a hint, would need over `partsMax` of them. All
 * parts that are uploaded have one size: some stores insist.
 */
export function planFor(sizeBytes: number, options: Partial<Plan> = {}): Plan {
  const { partsMax = 9_000 } = options
  const isLarge = sizeBytes > partsMax * 8 * mebibyte
  return { partBytes: options.partBytes ?? (isLarge ? 16 : 8) * mebibyte, partsMax }
}

/** The sizes that parts may have, in bytes. */
export function partSizes(options: Partial<Plan> = {}): number[] {
  return [0, objectBytesMax].map((sizeBytes) => planFor(sizeBytes, options).partBytes)
}

/** What can be stored without a copy of segments, in bytes. */
export function plainBytesMax({ partBytes, partsMax }: Plan): number {
  return partBytes * partsMax
}

/** What can be stored at all, in bytes. */
export function bytesMaxOf(plan: Plan): number {
  const segments = (partNumberMax - plan.partsMax) * copyBytesMax
  return Math.min(objectBytesMax, plainBytesMax(plan) + segments)
}

/**
 * How many parts segment `index` (from 0) has, where `leftBytes`, a hint, are still to come.
 * Small at first, because a proxy may cut a copy that takes long; larger as their number runs out.
 * Undefined when no more segments fit.
 */
export function segmentParts(plan: Plan, index: number, leftBytes: number): number | undefined {
  const segmentsLeft = partNumberMax - plan.partsMax - index
  if (segmentsLeft <= 0) return undefined
  const growing = (1 + Math.floor(index / 100)) * gibibyte
  const parts = Math.ceil(Math.max(growing, leftBytes / segmentsLeft) / plan.partBytes)
  return Math.min(parts, plan.partsMax, Math.floor(copyBytesMax / plan.partBytes))
}

/** For more bytes than the store can hold as one object. */
export function tooLarge(
  key: string,
  { bytesMax, cannotJoin, cause }: { bytesMax: number; cannotJoin: boolean; cause: unknown },
): ImageError {
  const text = cannotJoin
    ? `${key} is over ${bytesMax} bytes, the most that this store can hold: it can not copy parts ` +
      '(UploadPartCopy), which larger objects are joined with.'
    : `${key} is over ${bytesMax} bytes, the most that an S3 store can hold.`
  return new ImageError('resource_exhausted', text, { reason: 'too_large', cause })
}

/** The temporary object `index` of a put to `key`, without the bucket's prefix. `id`: 16 hex. */
export function temporaryKey(id: string, key: string, index: number): string {
  return `${temporaryPrefix}${id}/${key.replaceAll('/', '~')}/${index}`
}

/** The key that a temporary object is for; undefined where it is none of ours. */
export function parseTemporaryKey(name: string): string | undefined {
  const key = pattern.exec(name)?.[1]?.replaceAll('~', '/')
  return key !== undefined && isKey(key) ? key : undefined
}

/** Whether an object's name, without the bucket's prefix, is a key. */
export function isKey(name: string): boolean {
  try {
    assertKey(name)
    return true
  } catch (error) {
    if (isImageError(error, 'invalid_argument')) return false
    throw error
  }
}
