// What is said of an image that Longhorn knows, or should know.

import type { Image, ImageStatus, Registration } from '@backing-image/core'
import { type LonghornImage, overallState } from './resource.ts'

/** Whether Longhorn has it from here: by a URL that was issued for just this registration. */
export function isIssued(
  { url, formerUrls = [] }: Pick<Registration, 'url' | 'formerUrls'>,
  { parameters }: Pick<LonghornImage, 'parameters'>,
): boolean {
  const given = parameters['url']
  return given !== undefined && [url, ...formerUrls].includes(given)
}

/** As Longhorn has it under the name of the registration; undefined: it has none of that name. */
export function statusOf(
  registration: Registration,
  image: LonghornImage | undefined,
): ImageStatus {
  const name = registration.registeredAs
  if (!image) return { ...nothing(name), state: 'absent', message: absent(registration) }
  if (!isIssued(registration, image)) {
    return { ...nothing(name), state: 'conflict', message: foreign(name) }
  }
  return statusOfCopies(image)
}

function statusOfCopies(image: LonghornImage): ImageStatus {
  const { name } = image
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

/**
 * Of an image that was imported from there, and is there still: it is known already, though nobody here
 * made it known.
 */
export function originOf(
  { sourceType, parameters, currentChecksum }: Image,
  seen: ReadonlyMap<string, LonghornImage>,
): ImageStatus | undefined {
  const name = sourceType === 'longhorn' ? parameters['backing-image'] : undefined
  const image = typeof name === 'string' ? seen.get(name) : undefined
  if (!image || image.currentChecksum !== currentChecksum) return undefined
  return { ...statusOfCopies(image), message: 'It was imported from there.' }
}

function absent({ retiredAt }: Registration): string {
  return retiredAt === undefined
    ? 'Longhorn does not have it now.'
    : 'Longhorn has let it go, for it was to be deleted here, too. It comes back there unless it is ' +
        'deleted within ten minutes.'
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
