// What Longhorn has put on a disk, read from the disk itself: a daemon knows only the files that it was asked
// for, and these are those that could be asked for.

import { dirname, join } from 'node:path'
import type { GuardedDisk } from '@backing-image/backend-local'
import { isImageError } from '@backing-image/core'
import { modificationTimeOf, readConfig } from './config-file.ts'
import { blockBytes } from './existing.ts'
import { isGatewayFolder } from './gateway-files.ts'
import { imagePath } from './paths.ts'
import { shapeOf } from './shape.ts'

export interface DiskImage {
  name: string
  uuid: string
  /** Absolute, on the server. */
  path: string
  size: number
  /** 0 where it can not be told. */
  virtualSize: number
  /** What it takes on the disk, in bytes. */
  realSize: number
  /** SHA-512 in hex; empty where nothing beside the file tells it of the file as it is now. */
  currentChecksum: string
  /** RFC 3339. */
  modifiedAt: string
}

/** `<name>-<uuid>`, with Longhorn's uuids (contract §3.1). */
const folderForm = /^(.+)-([0-9a-f]{8})$/
/** A disk has tens of them. */
const imagesMax = 10_000

/** By name and uuid. What goes while it is looked at is left out. */
export async function listDiskImages(disk: GuardedDisk, root: string): Promise<DiskImage[]> {
  const folders = await disk.readdir(join(root, 'backing-images'))
  const images: DiskImage[] = []
  for (const folder of folders.slice(0, imagesMax)) {
    const [, name, uuid] = folderForm.exec(folder.name) ?? []
    if (name === undefined || uuid === undefined || !folder.isDirectory()) continue
    const image = await imageOf(disk, root, name, uuid)
    if (image) images.push(image)
  }
  return images.toSorted((a, b) => (a.path < b.path ? -1 : 1))
}

async function imageOf(
  disk: GuardedDisk,
  root: string,
  name: string,
  uuid: string,
): Promise<DiskImage | undefined> {
  const path = imagePath(root, name, uuid)
  try {
    if (await isGatewayFolder(disk, dirname(path))) return undefined
    const stats = await disk.lstat(path)
    if (!stats.isFile()) return undefined
    const config = await readConfig(disk, path)
    const isCurrent = config?.modificationTime === modificationTimeOf(stats)
    const shape = await shapeOf(disk, path).catch(() => ({ virtualSize: 0 }))
    return {
      name,
      uuid,
      path,
      size: Number(stats.size),
      virtualSize: shape.virtualSize,
      realSize: Number(stats.blocks * blockBytes),
      currentChecksum: isCurrent ? config.currentChecksum : '',
      modifiedAt: stats.mtime.toISOString(),
    }
  } catch (error) {
    if (isImageError(error, 'not_found')) return undefined
    throw error
  }
}
