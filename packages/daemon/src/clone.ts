// Another image of one that is on the same disk: the same bytes, encrypted ones, or what is in encrypted ones
// (contract §3.7).

import { readObject } from '@backing-image/backend-local'
import { type Bytes, ImageError } from '@backing-image/core'
import type { Place } from './arrival.ts'
import type { Values } from './image-files.ts'
import type { ManagedFile } from './managed-file.ts'
import { imagePath } from './paths.ts'

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
  const source = imagePath(place.root, order.name, order.uuid)
  const stats = await place.disk.lstat(source)
  if (order.encryption === 'ignore') {
    file.announce(Number(stats.size))
    return await readObject(place.disk, source, source, { lend: true, signal: file.signal })
  }
  throw new ImageError('unimplemented', `the encryption ${order.encryption} is not known here`)
}
