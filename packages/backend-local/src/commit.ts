// The one durable write: a temporary file, synced, then linked or renamed to its name, then the
// folders synced. Nothing here relies on a lock; every step says which crash or race it is for.

import { dirname } from 'node:path'
import { constants, type BigIntStats } from 'node:fs'
import { ImageError, isImageError, type PutOptions } from '@backing-image/core'
import type { Disk, OpenFile } from './disk.ts'
import { makeParents, syncFolder, syncUpwards } from './folders.ts'
import type { GuardedDisk, GuardedFile } from './guarded.ts'
import { Writer } from './writer.ts'

const attemptsMax = 20
const { O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants
/** Never through a link, and never waiting for the other end of a foreign pipe. */
export const readFlags: number = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
/** For a new file that nobody else has. */
export const createFlags: number = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW

/** Where a temporary file is made. */
export interface Place {
  disk: GuardedDisk
  root: string
  /** Its path when so many of its bytes would survive a power cut; always the same unless kept. */
  pathOf: (durableBytes: number) => string
  onDurable?: PutOptions['onDurable']
  /** As WriterOptions has it. */
  syncEveryBytes?: number | undefined
}

/** A file under `.tmp` that becomes an object, or is thrown away. */
export class Temporary {
  readonly #place: Place
  readonly #disk: GuardedDisk
  #path: string
  readonly #file: GuardedFile
  readonly #writer: Writer
  #direct: GuardedFile | undefined
  #toldBytes = 0
  #isOpen = true
  #sealed: BigIntStats | undefined
  #isPlaced = false

  private constructor(place: Place, file: GuardedFile) {
    this.#place = place
    this.#disk = place.disk
    this.#path = place.pathOf(0)
    this.#file = file
    const onSynced = (lengthBytes: number): Promise<void> => this.#tell(lengthBytes)
    const { onDurable, syncEveryBytes } = place
    this.#writer = new Writer(file, { syncEveryBytes, ...(onDurable && { onSynced }) })
  }

  static async create(place: Place): Promise<Temporary> {
    return new Temporary(place, await place.disk.open(place.pathOf(0), createFlags, 0o644))
  }

  /** So many bytes are on the medium: first its name says so, durably, and then we. */
  async #tell(lengthBytes: number): Promise<void> {
    if (lengthBytes === this.#toldBytes) return
    const path = this.#place.pathOf(lengthBytes)
    if (path !== this.#path) await this.#rename(path)
    if (this.#toldBytes > 0) await syncFolder(this.#disk, dirname(path))
    else await syncUpwards(this.#disk, this.#place.root, dirname(path))
    this.#toldBytes = lengthBytes
    this.#place.onDurable?.(lengthBytes)
  }

  async #rename(path: string): Promise<void> {
    try {
      await this.#disk.rename(this.#path, path)
    } catch (error) {
      if (!(await this.#hasLanded(path, await this.#file.stat(), false, error))) throw error
    }
    this.#path = path
  }

  append(chunk: Uint8Array): Promise<void> {
    return this.#writer.append(chunk)
  }

  /** As Writer has it. */
  writeAt(chunk: Uint8Array, position: number, isOver?: boolean): Promise<void> {
    return this.#writer.writeAt(chunk, position, isOver)
  }

  reach(lengthBytes: number): void {
    this.#writer.reach(lengthBytes)
  }

  /** The end of what is written: durable, and closed. How it stands; a rename leaves that as it is. */
  async seal(): Promise<BigIntStats> {
    if (this.#sealed) return this.#sealed
    // The bytes first: a name that is on the medium before them would show zeros after a power cut.
    await this.#writer.finish()
    const own = await this.#file.stat()
    // NFS reports the last failed write, or a full disk, only here.
    await this.#close()
    this.#sealed = own
    return own
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
    const own = await this.seal()
    options.signal?.throwIfAborted()
    await this.#land(root, final, own, options.ifAbsent)
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

  async #land(root: string, final: string, own: BigIntStats, ifAbsent: boolean): Promise<void> {
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

  /** Resolves when no sync is under way in the background, however it ended. Never rejects. */
  async settle(): Promise<void> {
    await this.#writer.settle()
  }

  /**
   * Leaves the file as it is, for who goes on with it; with `isToBeSynced` what was appended is made
   * durable first. Never rejects: what is not durable was not told to be.
   */
  async leave(isToBeSynced: boolean): Promise<void> {
    if (this.#isOpen && isToBeSynced) await this.#writer.finish().catch(() => {})
    await this.#writer.settle()
    if (this.#isOpen) await this.#close().catch(() => {})
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

/**
 * Undefined where there is nothing. Through an open handle, because opening is what makes an NFS
 * client ask the server anew.
 */
export async function freshStat(disk: Disk, path: string): Promise<BigIntStats | undefined> {
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
