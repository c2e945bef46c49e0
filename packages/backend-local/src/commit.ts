// The one durable write: a temporary file, synced, then linked or renamed to its name, then the
// folders synced. Nothing here relies on a lock; every step says which crash or race it is for.

import { basename, dirname } from 'node:path'
import { constants, type BigIntStats } from 'node:fs'
import { ImageError, isImageError } from '@backing-image/core'
import { errnoOf, type Disk, type OpenFile } from './disk.ts'
import type { GuardedDisk, GuardedFile } from './guarded.ts'
import { Writer } from './writer.ts'

const attemptsMax = 20
const { O_CREAT, O_DIRECT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } =
  constants
/** Never through a link, and never waiting for the other end of a foreign pipe. */
export const readFlags: number = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
/** For a new file that nobody else has. */
export const createFlags: number = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW

/** A file under `.tmp` that becomes an object, or is thrown away. */
export class Temporary {
  readonly #disk: GuardedDisk
  readonly #path: string
  readonly #file: GuardedFile
  readonly #writer: Writer
  #direct: GuardedFile | undefined
  #isOpen = true
  #isPlaced = false

  private constructor(disk: GuardedDisk, path: string, file: GuardedFile) {
    this.#disk = disk
    this.#path = path
    this.#file = file
    this.#writer = new Writer(file)
  }

  static async create(disk: GuardedDisk, path: string): Promise<Temporary> {
    return new Temporary(disk, path, await disk.open(path, createFlags, 0o644))
  }

  append(chunk: Uint8Array): Promise<void> {
    return this.#writer.append(chunk)
  }

  /**
   * Undefined when nothing that was left hangs in the kernel; else resolves when that has returned,
   * and nothing reads a chunk any more.
   */
  get returning(): Promise<unknown> | undefined {
    const calls = [this.#file.returning, this.#direct?.returning]
    const isIdle = calls.every((each) => each === undefined)
    return isIdle ? undefined : Promise.all(calls.map(async (each) => await each))
  }

  /** What is large leaves the page cache alone, where the file system can do that. */
  async appendDirectly(): Promise<void> {
    try {
      this.#direct = await this.#disk.open(this.#path, O_WRONLY | O_DIRECT | O_NOFOLLOW)
      this.#writer.writeDirectly(this.#direct)
    } catch (error) {
      // It can not; or what is really wrong shows with the next call.
      if (!isImageError(error)) throw error
    }
  }

  /**
   * Makes it the object at `final`. Resolves when that is durable. What fails before the object is
   * visible rejects with its own kind; what fails after is `unavailable`: it may have happened.
   */
  async commit(root: string, final: string, options: CommitOptions): Promise<BigIntStats> {
    // The bytes first: a name that is on the medium before them would show zeros after a power cut.
    await this.#writer.finish()
    const own = await this.#file.stat()
    // NFS reports the last failed write, or a full disk, only here.
    await this.#close()
    options.signal?.throwIfAborted()
    await this.#place(root, final, own, options.ifAbsent)
    this.#isPlaced = true
    try {
      // Its name in `.tmp` is litter now, not a failure: what stays is found by the next sweep.
      if (options.ifAbsent) await this.#disk.unlink(this.#path).catch(() => {})
      await syncUpwards(this.#disk, root, dirname(final))
      return await this.#look(final, own)
    } catch (error) {
      throw new ImageError(
        'unavailable',
        `${final} was written, but it is not certain that it would survive a power cut. Try again.`,
        { cause: error },
      )
    }
  }

  async #place(root: string, final: string, own: BigIntStats, ifAbsent: boolean): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        // A link never replaces; a rename always does, and in one step for every reader.
        if (ifAbsent) await this.#disk.link(this.#path, final)
        else await this.#disk.rename(this.#path, final)
        return
      } catch (error) {
        if (await this.#hasLanded(final, own, ifAbsent, error)) return
        if (!isImageError(error, 'not_found')) throw error
        // No parent yet, or a racing delete has just removed it with its last file.
        if (attempt === attemptsMax) {
          throw new ImageError(
            'unavailable',
            `The folder of ${final} keeps vanishing. Try again.`,
            {
              cause: error,
            },
          )
        }
        await makeParents(this.#disk, root, final)
      }
    }
  }

  /**
   * On NFS a lost reply makes the client ask again, and the second try meets what the first has
   * done: link(2) and rename(2) may report a failure after their success. The inode tells.
   */
  async #hasLanded(
    final: string,
    own: BigIntStats,
    ifAbsent: boolean,
    failure: unknown,
  ): Promise<boolean> {
    try {
      const there = await freshStat(this.#disk, final)
      if (there?.ino === own.ino && there.dev === own.dev) return true
      // A cache may still deny the new name; the count of our own file's names can not.
      return ifAbsent && (await freshStat(this.#disk, this.#path))?.nlink === 2n
    } catch (error) {
      throw new ImageError(
        'unavailable',
        `It is unclear whether ${final} was written. Try again.`,
        {
          cause: new AggregateError([failure, error]),
        },
      )
    }
  }

  /** The object as it stands; when another put or delete came after ours, as ours was. */
  async #look(final: string, own: BigIntStats): Promise<BigIntStats> {
    try {
      const there = await this.#disk.lstat(final)
      return there.ino === own.ino ? there : own
    } catch (error) {
      if (isImageError(error, 'not_found')) return own
      throw error
    }
  }

  async #close(): Promise<void> {
    // First: also a close that fails has given the descriptor back.
    this.#isOpen = false
    try {
      await this.#direct?.close()
    } finally {
      await this.#file.close()
    }
  }

  /** Leaves nothing behind, as far as the disk allows. Never rejects: the first error counts. */
  async discard(): Promise<void> {
    await this.#writer.settle()
    if (this.#isOpen) await this.#close().catch(() => {})
    if (!this.#isPlaced) await this.#disk.unlink(this.#path).catch(() => {})
  }
}

export interface CommitOptions {
  ifAbsent: boolean
  signal: AbortSignal | undefined
}

/** Through an open handle, because opening is what makes an NFS client ask the server anew. */
async function freshStat(disk: Disk, path: string): Promise<BigIntStats | undefined> {
  let file: OpenFile
  try {
    file = await disk.open(path, readFlags)
  } catch (error) {
    if (isImageError(error, 'not_found')) return undefined
    throw error
  }
  try {
    return await file.stat()
  } finally {
    await file.close()
  }
}

async function makeParents(disk: Disk, root: string, final: string): Promise<void> {
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

async function syncFolder(disk: Disk, folder: string): Promise<void> {
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
async function syncUpwards(disk: Disk, root: string, folder: string): Promise<void> {
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
