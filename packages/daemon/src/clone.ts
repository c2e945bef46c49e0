// Another image of one that is on the same disk: the same bytes, encrypted ones, or what is in encrypted ones
// (contract §3.7).

import type { Bytes } from '@backing-image/core'
import type { Place } from './arrival.ts'
import { clonedBytes } from './clone/cloned-bytes.ts'
import type { Values } from './image-files.ts'
import type { ManagedFile } from './managed-file.ts'
import { imagePath, temporaryPath } from './paths.ts'

export interface CloneOrder {
  /** The image that is cloned. */
  name: string
  uuid: string
  /** `ignore`, `encrypt` or `decrypt`. */
  encryption: string
  /** The passphrase, and how to encrypt, by Longhorn's names. */
  credential: Values
}

/** The bytes of the clone, in order. Tells `file` how many they will be. */
export async function cloned(place: Place, file: ManagedFile, order: CloneOrder): Promise<Bytes> {
  const { encryption, credential } = order
  const { size, bytes } = await clonedBytes({
    disk: place.disk,
    source: imagePath(place.root, order.name, order.uuid),
    scratch: temporaryPath(file.path),
    encryption,
    credential,
    signal: file.signal,
  })
  file.announce(size)
  return bytes
}
