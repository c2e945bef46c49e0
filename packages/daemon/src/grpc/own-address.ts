// Where others reach this pod for the bytes of a copy.

import { networkInterfaces } from 'node:os'
import { ImageError } from '@backing-image/core'

/** Longhorn's storage network (contract §1.5). */
const storageInterface = 'lhnet1'

/** The IPv4 address of the storage network, else `podIp`. Throws `failed_precondition`. */
export function ownAddress(podIp: string): string {
  const ofStorage = networkInterfaces()[storageInterface]?.find(({ family }) => family === 'IPv4')
  const address = ofStorage?.address ?? podIp
  if (address !== '') return address
  throw new ImageError(
    'failed_precondition',
    `This pod does not know its own address: there is no interface ${storageInterface} with an IPv4 ` +
      'address, and POD_IP is not set.',
  )
}
