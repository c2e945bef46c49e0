// What a file is that is on the disk already: its config tells its digest where that is still true, else it
// is read (contract §3.6).

import { readObject } from '@backing-image/backend-local'
import { ImageError, asError, isImageError } from '@backing-image/core'
import { type Place, sha512Of } from './arrival.ts'
import { modificationTimeOf, readConfig } from './config-file.ts'
import type { FileInfo } from './file-info.ts'
import type { Log } from './log.ts'
import { shapeOf } from './shape.ts'

/** The unit in which a file system tells what a file takes. */
export const blockBytes = 512n

/** What a file that is there turned out to be. */
export type Found = Pick<
  FileInfo,
  'size' | 'virtualSize' | 'realSize' | 'currentChecksum' | 'modificationTime'
>

export interface Search {
  /** 0 or less where any will do. */
  sizeWanted: number
  signal: AbortSignal
  log: Log
}

/** Undefined where there is no file, or one of another size. Rejects when it changes meanwhile. */
export async function findFile(
  place: Place,
  path: string,
  search: Search,
): Promise<Found | undefined> {
  try {
    return await lookAt(place, path, search)
  } catch (error) {
    if (isImageError(error, 'not_found')) return undefined
    throw error
  }
}

async function lookAt(
  place: Place,
  path: string,
  { sizeWanted, signal, log }: Search,
): Promise<Found | undefined> {
  const { disk, hasher } = place
  const stats = await disk.lstat(path)
  const size = Number(stats.size)
  if (!stats.isFile() || (sizeWanted > 0 && size !== sizeWanted)) return undefined
  const modificationTime = modificationTimeOf(stats)
  const config = await readConfig(disk, path)
  let currentChecksum = config?.currentChecksum ?? ''
  if (config?.modificationTime !== modificationTime) {
    const bytes = await readObject(disk, path, path, { lend: true, signal })
    currentChecksum = await sha512Of(hasher, bytes, signal)
  }
  // 0 where it can not be told, as Longhorn has it: the image was taken before, by whoever.
  const virtualSize = await shapeOf(disk, path).then(
    (shape) => shape.virtualSize,
    (error: unknown) => {
      log.warn({ path, message: asError(error).message }, 'odd image on the disk')
      return 0
    },
  )
  const after = await disk.lstat(path)
  if (modificationTimeOf(after) !== modificationTime) {
    throw new ImageError('aborted', `${path} was modified while its checksum was calculated`)
  }
  const realSize = Number(stats.blocks * blockBytes)
  return { size, virtualSize, realSize, currentChecksum, modificationTime }
}
