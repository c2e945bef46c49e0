// Dropping copies that Longhorn has of an image of ours, but never the last good one.

import { ImageError, type Registration } from '@backing-image/core'
import type { LonghornClient } from './client.ts'
import { isIssued } from './registered.ts'
import type { LonghornImage } from './resource.ts'

/**
 * Drops the copies on these disks, named by their UUIDs. Refused for a disk that has none, for a backing
 * image that was not made for this registration, and where no ready copy would be left; Longhorn itself refuses
 * it while a replica uses one.
 */
export async function dropCopies(
  client: LonghornClient,
  registration: Registration,
  disks: readonly string[],
): Promise<LonghornImage> {
  const name = registration.registeredAs
  const image = await client.get(name)
  if (!isIssued(registration, image)) {
    throw refused(`The backing image ${name} of Longhorn is not from here, and stays as it is.`)
  }
  const there = Object.keys(image.disks)
  const unknown = disks.filter((disk) => !there.includes(disk))
  if (unknown.length > 0) {
    const known = there.length === 0 ? 'there is none' : `they are on ${there.join(', ')}`
    throw new ImageError(
      'invalid_argument',
      `There is no copy of ${name} on ${unknown.join(', ')}; ${known}.`,
    )
  }
  const isLeft = Object.entries(image.disks).some(
    ([disk, { state }]) => state === 'ready' && !disks.includes(disk),
  )
  if (!isLeft) {
    throw refused(
      `No ready copy of ${name} would be left. Keep one, or delete the image if nobody needs it.`,
    )
  }
  return await client.cleanup(name, [...new Set(disks)])
}

function refused(message: string): ImageError {
  return new ImageError('failed_precondition', message)
}
