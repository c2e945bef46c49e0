// `backing.cfg` and its like: what a file is, written beside it so that nobody has to hash it again
// (contract §3.3). It counts only as long as the file has the modification time that it tells.

import { type GuardedDisk, Temporary, readFlags } from '@backing-image/backend-local'
import { formatGoTime, isImageError } from '@backing-image/core'
import type { FileInfo } from './file-info.ts'
import { configPath } from './paths.ts'
import { readPart } from './read-part.ts'

/** What is read back; everything else in it is for people. */
export interface FileConfig {
  modificationTime: string
  currentChecksum: string
}

const bytesMax = 64 * 1024
const sha512Form = /^[0-9a-f]{128}$/

/** The keys of Longhorn, in its order and without blanks. `name` is the path. */
export function formatConfig(info: FileInfo): string {
  return JSON.stringify({
    name: info.filePath,
    uuid: info.uuid,
    size: info.size,
    virtualSize: info.virtualSize,
    realSize: info.realSize,
    expectedChecksum: info.expectedChecksum,
    currentChecksum: info.currentChecksum,
    modificationTime: info.modificationTime,
  })
}

/** Undefined where there is none that can be read, or none that says what a file is. */
export async function readConfig(disk: GuardedDisk, path: string): Promise<FileConfig | undefined> {
  try {
    const file = await disk.open(configPath(path), readFlags)
    try {
      const stats = await file.stat()
      if (!stats.isFile() || stats.size > bytesMax) return undefined
      return parseConfig(await readPart(file, 0, Number(stats.size)))
    } finally {
      await file.close()
    }
  } catch (error) {
    if (isImageError(error, 'not_found')) return undefined
    throw error
  }
}

function parseConfig(body: Buffer): FileConfig | undefined {
  let found: unknown
  try {
    found = JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
  if (typeof found !== 'object' || found === null) return undefined
  const { modificationTime, currentChecksum } = found as Record<string, unknown>
  if (typeof modificationTime !== 'string' || typeof currentChecksum !== 'string') return undefined
  return sha512Form.test(currentChecksum) ? { modificationTime, currentChecksum } : undefined
}

/** Replaces the one beside a file in one step, durably. */
export async function writeConfig(disk: GuardedDisk, root: string, info: FileInfo): Promise<void> {
  const path = configPath(info.filePath)
  const scratch = `${path}.tmp`
  await removeFile(disk, scratch)
  const temporary = await Temporary.create({ disk, root, pathOf: () => scratch })
  try {
    await temporary.append(Buffer.from(formatConfig(info)))
    await temporary.commit(root, path, { ifAbsent: false, signal: undefined })
  } catch (error) {
    await temporary.discard()
    throw error
  }
}

/** An absent one is success. */
export async function removeFile(disk: GuardedDisk, path: string): Promise<void> {
  try {
    await disk.unlink(path)
  } catch (error) {
    if (!isImageError(error, 'not_found')) throw error
  }
}

/** Nanoseconds as Go writes them. */
export function modificationTimeOf({ mtimeNs }: { mtimeNs: bigint }): string {
  return formatGoTime(mtimeNs)
}
