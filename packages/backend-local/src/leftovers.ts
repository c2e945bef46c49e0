// What lies in `.tmp`: the unfinished files of this process and of others, alive or dead.

import type { BigIntStats } from 'node:fs'
import { join } from 'node:path'
import { assertKey, isImageError, type UnfinishedPut } from '@backing-image/core'
import type { Disk } from './disk.ts'
import { type Owner, isOwner } from './owner.ts'

export const temporaryName = '.tmp'

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
      for (const name of await this.#names(join(temporaryName, owner))) {
        const key = keyOf(name)
        const path = join(this.#root, temporaryName, owner, name)
        const stats = key === undefined ? undefined : await this.#lstatFile(path)
        if (key !== undefined && stats) {
          yield { id: `${owner}/${name}`, key, modifiedAt: stats.mtimeNs, owner }
        }
      }
    }
  }

  /** Absent is success. */
  async discard(id: string): Promise<void> {
    const [owner = '', name = '', ...rest] = id.split('/')
    // No id of ours, so there is nothing to discard.
    if (rest.length > 0 || !isOwner(owner) || keyOf(name) === undefined) return
    try {
      await this.#disk.unlink(join(this.#root, temporaryName, owner, name))
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
    }
  }

  /** Removes what processes that are certainly dead have left unfinished; never of a living one. */
  async sweepDead(): Promise<void> {
    for (const owner of await this.#owners()) {
      if (!(await this.#owner.isGone(owner))) continue
      try {
        await this.#owner.sweep(owner)
      } catch (error) {
        // Another process sweeps it too, or it belongs to another user; `unfinished` still shows it.
        if (!isImageError(error)) throw error
      }
    }
  }

  async #owners(): Promise<string[]> {
    return (await this.#names(temporaryName)).filter(isOwner)
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

/** The key in the name of a temporary file, `<count>~<key with "~" for "/">`; else undefined. */
function keyOf(name: string): string | undefined {
  const key = /^[0-9]+~(.+)$/.exec(name)?.[1]?.replaceAll('~', '/')
  if (key === undefined) return undefined
  try {
    assertKey(key)
    return key
  } catch {
    return undefined
  }
}
