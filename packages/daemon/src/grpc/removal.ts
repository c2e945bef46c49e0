// What a deleted image may leave on the disk, also where no file is known any more (contract §1.5):
// longhorn-manager relies on it after a data source has failed.

import { open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { openDisk } from '@backing-image/backend-local'
import { isImageError } from '@backing-image/core'
import { confined } from '../confined.ts'
import { assertNoGateway } from '../gateway-files.ts'
import { imageFolder, sourcePath, temporaryPath } from '../paths.ts'

/**
 * Removes the folder of the image and what its data source had begun; what is not there is success.
 * Rejects with `failed_precondition`, and removes nothing, where the folder is a gateway's, or a link
 * above it leads off the disk; a link in its own place is removed as one.
 */
export async function removeRemains(root: string, name: string, uuid: string): Promise<void> {
  const disk = openDisk(root)
  const folder = imageFolder(root, name, uuid)
  await assertNoGateway(disk, folder)
  const paths = [folder, temporaryPath(sourcePath(root, name, uuid))]
  for (const path of paths) {
    await confined(disk, root)
      .lstat(path)
      .catch((error: unknown) => {
        if (!isImageError(error, 'not_found')) throw error
      })
  }
  for (const path of paths) {
    await rm(path, { recursive: true, force: true })
    await syncFolder(dirname(path))
  }
}

/** What has gone stays gone after a power cut. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  try {
    await folder?.sync()
  } finally {
    await folder?.close()
  }
}
