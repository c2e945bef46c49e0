// The folders between the root and an object: made where they are missing, synced so that what stands
// in them survives, and removed when they are empty.

import { constants } from 'node:fs'
import { basename, dirname } from 'node:path'
import { isImageError } from '@backing-image/core'
import { errnoOf, type Disk } from './disk.ts'

const { O_DIRECTORY, O_RDONLY } = constants

/** Makes the folders that are missing above `final`. */
export async function makeParents(disk: Disk, root: string, final: string): Promise<void> {
  const missing: string[] = []
  for (let folder = dirname(final); folder !== root; folder = dirname(folder)) missing.push(folder)
  for (const folder of missing.toReversed()) {
    try {
      await disk.mkdir(folder, 0o755)
    } catch (error) {
      // Not there: a racing delete took the one above away again. The caller finds out, and repeats.
      if (!isImageError(error, 'already_exists', 'not_found')) throw error
    }
  }
}

/** What stands in `folder` survives a power cut. */
export async function syncFolder(disk: Disk, folder: string): Promise<void> {
  const handle = await disk.open(folder, O_RDONLY | O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Syncs `folder` and every one above it up to `root`. All of them, not only those that we made:
 * another put may have made a parent and not yet synced the folder in which it stands.
 */
export async function syncUpwards(disk: Disk, root: string, folder: string): Promise<void> {
  for (let each = folder; ; each = dirname(each)) {
    try {
      await syncFolder(disk, each)
    } catch (error) {
      // A racing delete took our object and its folder away; it syncs what it did itself.
      if (!isImageError(error, 'not_found') || each === root) throw error
    }
    if (each === root) return
  }
}

/** Takes a file away, durably, and the folders that this empties. An absent one is success. */
export async function remove(disk: Disk, root: string, path: string): Promise<void> {
  try {
    await disk.unlink(path)
  } catch (error) {
    if (!isImageError(error, 'not_found')) throw error
  }
  await removeEmptyFolders(disk, root, dirname(path))
}

/**
 * Removes `folder` and those above it while they are empty, but for the few of the store itself, then
 * syncs the first that stays: once that is durable, so is the absence of all below, whoever removed it.
 */
export async function removeEmptyFolders(disk: Disk, root: string, folder: string): Promise<void> {
  let kept = folder
  while (isRemovable(root, kept) && (await isRemoved(disk, kept))) kept = dirname(kept)
  for (;;) {
    try {
      return await syncFolder(disk, kept)
    } catch (error) {
      // A racing delete has emptied this one too.
      if (!isImageError(error, 'not_found') || kept === root) throw error
      kept = dirname(kept)
    }
  }
}

/**
 * `.jobs` and its like come and go with every look at the storage: servers that start together on an
 * empty store would take them from under each other's hands.
 */
function isRemovable(root: string, folder: string): boolean {
  return folder !== root && !(dirname(folder) === root && basename(folder).startsWith('.'))
}

async function isRemoved(disk: Disk, folder: string): Promise<boolean> {
  try {
    await disk.rmdir(folder)
    return true
  } catch (error) {
    if (isImageError(error, 'not_found')) return true
    // EBUSY: something is mounted there.
    if (['ENOTEMPTY', 'EEXIST', 'EBUSY'].includes(errnoOf(error) ?? '')) return false
    throw error
  }
}
