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
export interface TemporaryName {
  /** Of all that its process has begun. */
  count: number
  key: string
  /** It outlives its process, until somebody discards it. */
  isResumable: boolean
}

/** `<count>~<key with "~" for "/">`, with a "+" after the count of what may be gone on with. */
export function temporaryName({ count, key, isResumable }: TemporaryName): string {
  return `${count}${isResumable ? '+' : ''}~${key.replaceAll('/', '~')}`
}

/** Undefined for what is no temporary file of ours. */
function parseTemporaryName(name: string): TemporaryName | undefined {
  const [, count, plus, rest = ''] = /^([0-9]{1,15})(\+?)~(.+)$/.exec(name) ?? []
  const key = rest.replaceAll('~', '/')
  try {
    assertKey(key)
    return { count: Number(count), key, isResumable: plus === '+' }
  } catch {
    return undefined
  }
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
        const stats = key === undefined ? undefined : await this.#lstatFile(this.#path(owner, name))
        if (key !== undefined && stats) {
          yield { id: `${owner}/${name}`, key, modifiedAt: stats.mtimeNs, owner }
        }
      }
    }
  }

  /** Absent is success. With its last file the folder of an owner that is gone goes, too. */
  async discard(id: string): Promise<void> {
    const [owner = '', name = '', ...rest] = id.split('/')
    // No id of ours, so there is nothing to discard.
    if (rest.length > 0 || !isOwner(owner) || !parseTemporaryName(name)) return
    try {
      await this.#disk.unlink(this.#path(owner, name))
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
    }
    if (owner === this.#owner.id) return
    if (this.#owner.provesDeath) await this.#sweepIfDead(owner)
    else await this.#owner.dropEmpty(owner)
  }

  /** See Resumable. Nothing but what was synced is trusted: a power cut leaves garbage after it. */
  async remains(key: string, owner: string, durableBytes: number): Promise<Remains | undefined> {
    if (!isOwner(owner) || durableBytes <= 0) return undefined
    const files = (await this.#names(join(temporaryFolder, owner)))
      .map((name) => ({ name, ...parseTemporaryName(name) }))
      .filter((each) => each.key === key && each.isResumable)
      .toSorted((one, other) => (one.count ?? 0) - (other.count ?? 0))
    const name = files.at(-1)?.name
    if (name === undefined) return undefined
    const path = this.#path(owner, name)
    const stats = await freshStat(this.#disk, path)
    // Shorter than what was told it can be only if it is not that file.
    if (!stats?.isFile() || stats.size < BigInt(durableBytes)) return undefined
    const id = `${owner}/${name}`
    return { id, offset: durableBytes, read: (signal) => this.#read(id, durableBytes, signal) }
  }

  async #read(id: string, lengthBytes: number, signal: AbortSignal | undefined): Promise<Bytes> {
    const range = { start: 0, end: lengthBytes - 1 }
    const options = { range, ...(signal ? { signal } : {}) }
    try {
      signal?.throwIfAborted()
      return await readObject(this.#disk, join(this.#root, temporaryFolder, id), id, options)
    } catch (error) {
      if (!isImageError(error, 'not_found', 'out_of_range')) throw error
      const text = `What was left under ${id} is gone. Begin anew.`
      throw new ImageError('aborted', text, { cause: error })
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
      await this.#owner.sweep(owner, (name) => parseTemporaryName(name)?.isResumable === true)
    } catch (error) {
      // Another process sweeps it too, or it belongs to another user; `unfinished` still shows it.
      if (!isImageError(error)) throw error
    }
  }

  #path(owner: string, name: string): string {
    return join(this.#root, temporaryFolder, owner, name)
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
