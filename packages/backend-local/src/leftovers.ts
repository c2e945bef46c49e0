// What lies in `.tmp`: the unfinished files of this process and of others, alive or dead, and which of
// them may be gone on with.

import type { BigIntStats } from 'node:fs'
import { join } from 'node:path'
import { ImageError, assertKey, isImageError } from '@backing-image/core'
import type { Bytes, Remains, UnfinishedPut } from '@backing-image/core'
import { freshStat } from './commit.ts'
import type { Disk } from './disk.ts'
import { type Owner, isOwner } from './owner.ts'
import { readObject } from './read.ts'

export const temporaryFolder = '.tmp'

/** What the name of a temporary file says. */
interface TemporaryName {
  /** Of all that its process has begun. */
  count: number
  key: string
  /**
   * So many bytes from the beginning would survive a power cut. Only of what may be gone on with: that
   * outlives its process, until somebody discards it.
   */
  durableBytes: number | undefined
}

/** `<count>~<key with "~" for "/">`, or `<count>+<durable bytes>~<key …>` */
export function temporaryName({ count, key, durableBytes }: TemporaryName): string {
  const durable = durableBytes === undefined ? '' : `+${durableBytes}`
  return `${count}${durable}~${key.replaceAll('/', '~')}`
}

/** Undefined for what is no temporary file of ours. */
function parseTemporaryName(name: string): TemporaryName | undefined {
  const [, count, durable, rest = ''] = /^([0-9]{1,15})(?:\+([0-9]{1,15}))?~(.+)$/.exec(name) ?? []
  const key = rest.replaceAll('~', '/')
  try {
    assertKey(key)
    return { count: Number(count), key, durableBytes: durable ? Number(durable) : undefined }
  } catch {
    return undefined
  }
}

/** What may be gone on with, and that has been told. */
interface Left {
  id: string
  count: number
  durableBytes: number
}

export class Leftovers {
  readonly #disk: Disk
  readonly #root: string
  readonly #owner: Owner

  constructor(disk: Disk, root: string, owner: Owner) {
    this.#disk = disk
    this.#root = root
    this.#owner = owner
  }

  async *unfinished(): AsyncIterable<UnfinishedPut> {
    for (const owner of await this.#owners()) {
      for (const name of await this.#names(join(temporaryFolder, owner))) {
        const key = parseTemporaryName(name)?.key
        const id = `${owner}/${name}`
        const stats = key === undefined ? undefined : await this.#lstatFile(this.#path(id))
        if (key !== undefined && stats) yield { id, key, modifiedAt: stats.mtimeNs, owner }
      }
    }
  }

  /** Absent is success. With its last file the folder of an owner that is gone goes, too. */
  async discard(id: string): Promise<void> {
    const [owner = '', name = '', ...rest] = id.split('/')
    // No id of ours, so there is nothing to discard.
    if (rest.length > 0 || !isOwner(owner) || !parseTemporaryName(name)) return
    try {
      await this.#disk.unlink(this.#path(id))
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
    }
    if (owner === this.#owner.id) return
    if (this.#owner.provesDeath) await this.#sweepIfDead(owner)
    else await this.#owner.dropEmpty(owner)
  }

  /** See Resumable. Nothing but what was synced is trusted: a power cut leaves garbage after it. */
  async remains(key: string, owner: string, durableBytes: number): Promise<Remains | undefined> {
    const left = await this.#find(key, owner, durableBytes)
    if (!left) return undefined
    const offset = left.durableBytes
    const stats = await freshStat(this.#disk, this.#path(left.id))
    // Shorter than its name says it can be only if it is not that file.
    if (!stats?.isFile() || stats.size < BigInt(offset)) return undefined
    const read = async (signal?: AbortSignal): Promise<Bytes> => {
      // A process that was only taken for dead may be telling more and more.
      const now = await this.#find(key, owner, offset, left.count)
      return await this.#read(now?.id ?? left.id, offset, signal)
    }
    return { id: left.id, offset, read }
  }

  /** Of those of which so much was told the one that was begun last; or that of this count. */
  async #find(
    key: string,
    owner: string,
    durableBytes: number,
    count?: number,
  ): Promise<Left | undefined> {
    if (!isOwner(owner) || durableBytes <= 0) return undefined
    const found: Left[] = []
    for (const name of await this.#names(join(temporaryFolder, owner))) {
      const parsed = parseTemporaryName(name)
      if (parsed?.key !== key || parsed.durableBytes === undefined) continue
      if (parsed.durableBytes < durableBytes || (count ?? parsed.count) !== parsed.count) continue
      const { count: own, durableBytes: told } = parsed
      found.push({ id: `${owner}/${name}`, count: own, durableBytes: told })
    }
    return found.toSorted((one, other) => one.count - other.count).at(-1)
  }

  async #read(id: string, lengthBytes: number, signal: AbortSignal | undefined): Promise<Bytes> {
    const range = { start: 0, end: lengthBytes - 1 }
    const options = { range, ...(signal ? { signal } : {}) }
    try {
      signal?.throwIfAborted()
      return await readObject(this.#disk, this.#path(id), id, options)
    } catch (error) {
      if (!isImageError(error, 'not_found', 'out_of_range')) throw error
      const text = `What was left under ${id} is gone. Begin anew.`
      throw new ImageError('aborted', text, { cause: error, reason: 'storage_unavailable' })
    }
  }

  /**
   * Removes what processes that are certainly dead have left unfinished, and nobody goes on with; never
   * of a living one.
   */
  async sweepDead(): Promise<void> {
    for (const owner of await this.#owners()) await this.#sweepIfDead(owner)
  }

  async #sweepIfDead(owner: string): Promise<void> {
    if (!(await this.#owner.isGone(owner))) return
    try {
      await this.#owner.sweep(owner, (name) => parseTemporaryName(name)?.durableBytes !== undefined)
    } catch (error) {
      // Another process sweeps it too, or it belongs to another user; `unfinished` still shows it.
      if (!isImageError(error)) throw error
    }
  }

  #path(id: string): string {
    return join(this.#root, temporaryFolder, id)
  }

  async #owners(): Promise<string[]> {
    return (await this.#names(temporaryFolder)).filter(isOwner)
  }

  async #names(folder: string): Promise<string[]> {
    try {
      const entries = await this.#disk.readdir(join(this.#root, folder))
      return entries.map((entry) => entry.name).toSorted()
    } catch (error) {
      if (isImageError(error, 'not_found')) return []
      throw error
    }
  }

  async #lstatFile(path: string): Promise<BigIntStats | undefined> {
    try {
      const stats = await this.#disk.lstat(path)
      return stats.isFile() ? stats : undefined
    } catch (error) {
      if (isImageError(error, 'not_found')) return undefined
      throw error
    }
  }
}
