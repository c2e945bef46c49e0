// `backing.cfg` and its like: what a file is, written beside it so that nobody has to hash it again
// (contract §3.3). It counts only as long as the file has the modification time that it tells.

import { type GuardedDisk, Temporary, readFlags } from '@backing-image/backend-local'
import { asError, formatGoTime, isImageError } from '@backing-image/core'
import type { Place } from './arrival.ts'
import type { FileInfo } from './file-info.ts'
import type { Log } from './log.ts'
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

/** Undefined where none can be read, for whatever reason, or none that says what a file is. */
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
  } catch {
    // It spares us a look at the file, and no more.
    return undefined
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
  await removeFiles(disk, [scratch])
  const temporary = await Temporary.create({ disk, root, pathOf: () => scratch })
  try {
    await temporary.append(Buffer.from(formatConfig(info)))
    await temporary.commit(root, path, { ifAbsent: false, signal: undefined })
  } catch (error) {
    await temporary.discard()
    throw error
  }
}

/** The same where it has to be without: the file will be hashed again some time, and that is no failure. */
export async function tellConfig({ disk, root }: Place, info: FileInfo, log: Log): Promise<void> {
  try {
    await writeConfig(disk, root, info)
  } catch (error) {
    log.warn({ path: info.filePath, message: asError(error).message }, 'no config was written')
  }
}

/** An absent one is success. Rejects where one stays, when it has tried them all. */
export async function removeFiles(disk: GuardedDisk, paths: string[]): Promise<void> {
  const failures: unknown[] = []
  for (const path of paths) {
    try {
      await disk.unlink(path)
    } catch (error) {
      if (!isImageError(error, 'not_found')) failures.push(error)
    }
  }
  if (failures.length > 0) throw failures[0]
}

/** What tells that a file was changed; the modification time is empty where there is none. */
export async function editionAt(
  disk: GuardedDisk,
  path: string,
): Promise<{ modificationTime: string; size: number }> {
  try {
    const stats = await disk.lstat(path)
    return { modificationTime: modificationTimeOf(stats), size: Number(stats.size) }
  } catch (error) {
    if (isImageError(error, 'not_found')) return { modificationTime: '', size: 0 }
    throw error
  }
}

/** Nanoseconds as Go writes them. */
export function modificationTimeOf({ mtimeNs }: { mtimeNs: bigint }): string {
  return formatGoTime(mtimeNs)
}
