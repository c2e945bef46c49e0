// The aligned rendition of an image: its bytes, then zeros up to whole sectors. Longhorn takes nothing
// else (contract §3.5), and a fresh qcow2 file seldom ends with one. It is made while it is read.

import type { Bytes } from './backend.ts'
import { ImageError } from './errors.ts'
import type { OpenedImage } from './lookup.ts'
import type { Aligned } from './record.ts'

/** Longhorn and every disk count in these. */
export const sectorBytes = 512

const zeros = new Uint8Array(sectorBytes)

export function alignedSize(size: number): number {
  return Math.ceil(size / sectorBytes) * sectorBytes
}

/**
 * The rendition of an image: itself where it ends with a whole sector. `failed_precondition` where it was
 * stored before its digests were made.
 */
export function alignedOf(opened: OpenedImage, aligned: Aligned | undefined): OpenedImage {
  const { image, modifiedAt, read } = opened
  if (image.size === alignedSize(image.size)) return opened
  if (!aligned) {
    throw new ImageError(
      'failed_precondition',
      `${image.name} ${image.version} was stored by an earlier release, which did not make the digests ` +
        'of its aligned rendition. Store it once more.',
    )
  }
  const { size, checksums } = aligned
  return {
    image: { ...image, size, checksums, currentChecksum: checksums.sha512 },
    modifiedAt,
    read: async (range = { start: 0, end: size - 1 }, signal) => {
      const end = Math.min(range.end, size - 1)
      const inside = { start: range.start, end: Math.min(end, image.size - 1) }
      const isInside = inside.start <= inside.end
      return joined(
        isInside ? await read(inside, signal) : none,
        zerosFor(range.start, end, image.size),
      )
    },
  }
}

/** How many of the bytes from `start` to `end` come after the image. */
function zerosFor(start: number, end: number, size: number): Uint8Array {
  return zeros.subarray(0, Math.max(0, end + 1 - Math.max(start, size)))
}

const none: Uint8Array[] = []

async function* joined(bytes: Bytes | Iterable<Uint8Array>, rest: Uint8Array): Bytes {
  yield* bytes
  if (rest.length > 0) yield rest
}
