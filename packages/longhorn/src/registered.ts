// What is said of an image that Longhorn knows, or should know.

import type { ImageStatus, Registration } from '@backing-image/core'
import { type LonghornImage, overallState } from './resource.ts'

/** As Longhorn has it under the name of the registration; undefined: it has none of that name. */
export function statusOf(
  { registeredAs, url }: Registration,
  image: LonghornImage | undefined,
): ImageStatus {
  const name = registeredAs
  if (!image)
    return { ...nothing(name), state: 'absent', message: 'Longhorn does not have it now.' }
  if (image.parameters['url'] !== url) {
    return { ...nothing(name), state: 'conflict', message: foreign(name) }
  }
  const disks = Object.fromEntries(
    Object.entries(image.disks).map(([disk, { state, progress, message }]) => [
      disk,
      { state, progress, message },
    ]),
  )
  const state = overallState(image)
  const failed = Object.values(disks).find((disk) => disk.state === 'failed' && disk.message !== '')
  return { name, state, message: state === 'ready' ? '' : (failed?.message ?? ''), disks }
}

/** Without copies. */
export function nothing(name: string): ImageStatus {
  return { name, state: 'pending', message: '', disks: {} }
}

export function foreign(name: string): string {
  return (
    `Longhorn has a backing image ${name} already, which is not from here: it stays as it is. Delete it ` +
    'there, or give the image another name.'
  )
}
