// What an NFS client remembers of names, and how it is made to ask for what is there now.

import { errnoOf } from '@backing-image/backend-local'
import { constants, futimes } from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Disk, OpenFile } from '@backing-image/backend-local'
import { type Place, told } from './failure.ts'

const { O_DIRECTORY, O_RDONLY } = constants
const staleAttemptsMax = 10
/** At least half of a tick of any server's clock for files; a slow one may take many. */
const tickMs = 5
const touchesMax = 200
/** What a client calls a file that was removed or replaced while it had it open (nfs(5)). */
export const silly: RegExp = /^\.nfs[0-9a-f]+$/
export const sillyWaitsMs: readonly number[] = [20, 50, 100, 200, 400]

export interface NamesOptions {
  /** The calls as they are. */
  disk: Disk
  /** Of the store: nothing above it is looked at. */
  root: string
  place: Place
  /** Rejects when `device` is not that of the store, or undefined: its mount has gone. */
  check: (device: bigint | undefined) => Promise<void>
}

/** The looks at names that do not believe what the client remembers. */
export class Names {
  readonly #disk: Disk
  readonly #root: string
  readonly #place: Place
  readonly #check: NamesOptions['check']

  constructor({ disk, root, place, check }: NamesOptions) {
    this.#disk = disk
    this.#root = root
    this.#place = place
    this.#check = check
  }

  /**
   * Opening a folder makes the client ask for it (nfs(5), "Close-to-open cache consistency"), and what
   * it remembers of the names in a folder that has changed is forgotten. A stat alone would not.
   */
  async refresh(path: string): Promise<void> {
    const parent = path === this.#root ? path : dirname(path)
    let isThere = await this.#isThere(parent)
    if (!isThere && parent !== this.#root) {
      // The folder may itself be one of the things that are not what they were.
      await this.refresh(parent)
      isThere = await this.#isThere(parent)
    }
    if (!isThere && parent === this.#root) await this.#check(undefined)
  }

  async #isThere(path: string): Promise<boolean> {
    const stats = await this.#ofFolder(path, (folder) => folder.stat())
    if (stats) await this.#check(stats.dev)
    // Servers still answer for a folder that is removed, while another of its name is there.
    return stats !== undefined && stats.nlink !== 0n
  }

  async tell<T>(verb: string, path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw told(error, `${verb} ${path}`, this.#place)
    }
  }

  /** Asks again after a fresh look, where the answer may be an old one. */
  ask<T>(verb: string, path: string, doubts: string[], call: () => Promise<T>): Promise<T> {
    return this.tell(verb, path, async () => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await call()
        } catch (error) {
          const code = errnoOf(error) ?? ''
          // What is stale was there a moment ago, and is gone or another by now.
          const attemptsMax = code === 'ESTALE' ? staleAttemptsMax : 2
          if (!doubts.includes(code) || attempt >= attemptsMax) throw error
          await this.refresh(path)
        }
      }
    })
  }

  /**
   * Where the client has a file open that a rename replaces, it first moves that one out of the way:
   * for a moment there is neither. The name that it gives it tells.
   */
  async settled<T>(path: string, call: () => Promise<T>): Promise<T> {
    for (const waitMs of sillyWaitsMs) {
      try {
        return await call()
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT' || path === this.#root) throw error
        if (!(await this.#isSilly(dirname(path)))) break
        await delay(waitMs)
      }
    }
    return await call()
  }

  async #isSilly(folder: string): Promise<boolean> {
    try {
      return (await this.#disk.readdir(folder)).some(({ name }) => silly.test(name))
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  /**
   * Clients know by the time of a folder's last change whether what they remember of it is true, where
   * the server has nothing finer (NFS 3; some of its file systems). Of two changes in one tick of its
   * clock the second would never be seen by who looked between them; so no tick has two of ours.
   */
  async changing<T>(path: string, call: () => Promise<T>): Promise<T> {
    const folder = dirname(path)
    // Nobody looks for names there.
    if (path === this.#root || path.startsWith(`${this.#root}/.tmp`)) return await call()
    const before = await this.#changedAt(folder)
    const result = await call()
    for (let tries = 0; tries < touchesMax; tries += 1) {
      if (before === undefined || (await this.#changedAt(folder)) !== before) break
      await delay(tickMs)
      await this.#touch(folder)
    }
    return result
  }

  /** Undefined where there is no such folder any more. */
  async #changedAt(folder: string): Promise<bigint | undefined> {
    return await this.#ofFolder(folder, async (file) => (await file.stat()).ctimeNs)
  }

  async #touch(folder: string): Promise<void> {
    await this.#ofFolder(folder, async ({ fd }) => await touch(fd))
  }

  async #ofFolder<T>(path: string, ask: (file: OpenFile) => Promise<T>): Promise<T | undefined> {
    try {
      const file = await this.#disk.open(path, O_RDONLY | O_DIRECTORY)
      try {
        return await ask(file)
      } finally {
        await file.close()
      }
    } catch (error) {
      if (isMissing(error)) return undefined
      throw error
    }
  }

  async check(device: bigint): Promise<void> {
    await this.#check(device)
  }
}

/** The times that it is given do not matter: with them the server notes its own, that of the change. */
async function touch(fd: number): Promise<void> {
  const now = new Date()
  try {
    await promisify(futimes)(fd, now, now)
  } catch (error) {
    // A folder of another user.
    if (!['EPERM', 'EACCES'].includes(errnoOf(error) ?? '')) throw error
  }
}

export const missing: string[] = ['ENOENT', 'ENOTDIR', 'ESTALE']

function isMissing(error: unknown): boolean {
  return missing.includes(errnoOf(error) ?? '')
}
