// A gateway may keep its images on the same disk, in folders of the same form (docs/layout.md). What it has
// made there is its own: only it puts a block index beside the bytes, and Longhorn never touches it.

import { basename, dirname, join } from 'node:path'
import type { GuardedDisk } from '@backing-image/backend-local'
import { ImageError, isImageError } from '@backing-image/core'

const indexName = 'blocks'

/** Whether the folder is one of a gateway: beside the images it has none. */
export async function isGatewayFolder(disk: GuardedDisk, folder: string): Promise<boolean> {
  if (basename(dirname(folder)) !== 'backing-images') return false
  try {
    await disk.lstat(join(folder, indexName))
    return true
  } catch (error) {
    if (isImageError(error, 'not_found')) return false
    throw error
  }
}

/** Rejects with `failed_precondition` for a folder of a gateway. */
export async function assertNoGateway(disk: GuardedDisk, folder: string): Promise<void> {
  if (!(await isGatewayFolder(disk, folder))) return
  throw new ImageError(
    'failed_precondition',
    `${folder} is the gateway's, not Longhorn's: ask the gateway to remove or serve it`,
  )
}
