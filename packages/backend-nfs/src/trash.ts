// Where deleted images wait: another client may be reading them, and a server takes bytes away from
// under open files of others. Renamed into `.tmp/trash` they stay readable for who has them open.

import { errnoOf } from '@backing-image/backend-local'
import { randomBytes } from 'node:crypto'
import { constants, type BigIntStats } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Disk } from '@backing-image/backend-local'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants
const sweepEveryMs = 600_000

export interface TrashOptions {
  disk: Disk
  /** That of the store. */
  root: string
  /** How long what is deleted stays readable. */
  delayMs: number
}

/**
 * One look at the trash takes away all that is old enough, whoever put it there: also what dead
 * processes have left. Ages are by the server's own clock, of which every file made there tells.
 */
export class Trash {
  readonly folder: string
  readonly #disk: Disk
  readonly #delayMs: number
  #timer: NodeJS.Timeout | undefined
  #dueAtMs = Infinity
  #isClosed = false
  #sweeping: Promise<void> | undefined

  constructor({ disk, root, delayMs }: TrashOptions) {
    this.folder = join(root, '.tmp', 'trash')
    this.#disk = disk
    this.#delayMs = delayMs
  }

  /** Makes the folder where it is missing. */
  async make(): Promise<void> {
    for (const folder of [dirname(this.folder), this.folder]) {
      try {
        await this.#disk.mkdir(folder, 0o755)
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error
      }
    }
  }

  /** Takes a file away from its place at once, and for good when its time is over. */
  async take(path: string): Promise<void> {
    const name = `${randomBytes(8).toString('hex')}~${basename(dirname(path))}~${basename(path)}`
    const to = join(this.folder, name)
    try {
      await this.#disk.rename(path, to)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || (await this.#isMade())) throw error
      // Somebody has emptied `.tmp` while we run.
      await this.make()
      throw Object.assign(new Error('The trash was missing.'), { code: 'ESTALE', errno: -116 })
    }
    this.#schedule(this.#delayMs)
  }

  async #isMade(): Promise<boolean> {
    try {
      await this.#disk.lstat(this.folder)
      return true
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false
      throw error
    }
  }

  /** A new file, as the server made it: its clock and its idea of who we are. It does not stay. */
  async probe(): Promise<BigIntStats> {
    const path = join(this.folder, `probe-${randomBytes(8).toString('hex')}`)
    const file = await this.#disk.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
    try {
      return await file.stat()
    } finally {
      await file.close()
      await this.#disk.unlink(path).catch(() => {})
    }
  }

  /** Takes away what is old enough; looks again when the next is, and every ten minutes. */
  sweep(): Promise<void> {
    // One at a time, and one call at a time: where the server hangs only one thread waits for it.
    this.#sweeping ??= this.#sweep().finally(() => {
      this.#sweeping = undefined
    })
    return this.#sweeping
  }

  async #sweep(): Promise<void> {
    this.#dueAtMs = Infinity
    this.#schedule(sweepEveryMs)
    const entries = await this.#disk.readdir(this.folder).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return []
      throw error
    })
    // `.nfs…` is what this client's kernel keeps for who still reads it; it goes by itself.
    const names = entries.map(({ name }) => name).filter((name) => !name.startsWith('.'))
    if (names.length === 0) return
    const now = (await this.probe()).ctimeNs
    for (const name of names) {
      if (this.#isClosed) return
      const path = join(this.folder, name)
      try {
        const ageMs = Number((now - (await this.#disk.lstat(path)).ctimeNs) / 1_000_000n)
        if (ageMs >= this.#delayMs) await this.#disk.unlink(path)
        else this.#schedule(this.#delayMs - ageMs)
      } catch (error) {
        // Another process sweeps too.
        if (errnoOf(error) !== 'ENOENT') throw error
      }
    }
  }

  #schedule(inMs: number): void {
    const dueAtMs = performance.now() + inMs
    if (this.#isClosed || dueAtMs >= this.#dueAtMs) return
    clearTimeout(this.#timer)
    this.#dueAtMs = dueAtMs
    // A little later, for the coarse clocks of file systems.
    const sweep = (): void => void this.sweep().catch(() => {})
    this.#timer = setTimeout(sweep, inMs + 20).unref()
  }

  /** What waits here is left to the next process. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearTimeout(this.#timer)
  }
}
