// What a deleted image may leave on the disk, also where no file is known any more (contract §1.5):
// longhorn-manager relies on it after a data source has failed.

import { open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { openDisk } from '@backing-image/backend-local'
import { assertNoGateway } from '../gateway-files.ts'
import { imageFolder, sourcePath, temporaryPath } from '../paths.ts'

/**
 * Removes the folder of the image and what its data source had begun; what is not there is success.
 * Rejects with `failed_precondition`, and removes nothing, where the folder is a gateway's.
 */
export async function removeRemains(disk: string, name: string, uuid: string): Promise<void> {
  await assertNoGateway(openDisk(disk), imageFolder(disk, name, uuid))
  for (const path of [imageFolder(disk, name, uuid), temporaryPath(sourcePath(disk, name, uuid))]) {
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
