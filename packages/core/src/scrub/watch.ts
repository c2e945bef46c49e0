// Whether the process of the store's scrub still lives, and what becomes of the scrub when it does not:
// its report says so, and the next may begin.

import { hasOwners } from '../backend.ts'
import { Silence, slowReadMs } from '../lease.ts'
import type { Rooms } from '../rooms.ts'
import { endReport } from './report.ts'
import type { Lock, Shelf, Stored } from './shelf.ts'

export interface WatchOptions {
  rooms: Rooms
  shelf: Shelf
  /** This process, as locks name it. */
  owner: string
  /** Whether this process runs that scrub, or is just about to. */
  isOwn: (id: string) => boolean
}

export class Watch {
  readonly #options: WatchOptions
  readonly #silence = new Silence()

  constructor(options: WatchOptions) {
    this.#options = options
  }

  /** One look at the scrub of another process. */
  async look(): Promise<void> {
    const { shelf, isOwn } = this.#options
    const askedAtMs = performance.now()
    const lock = await shelf.locked()
    if (!lock || isOwn(lock.id)) return this.#silence.keepOnly()
    const stored = await shelf.read(lock.id)
    const nowMs = performance.now()
    const isSlow = nowMs - askedAtMs > slowReadMs
    this.#silence.keepOnly(new Set(isSlow ? [] : [lock.id]))
    const isSilent = this.#silence.isSilent(lock.id, String(stored?.count), nowMs)
    if (isSilent || (await this.#isGone(lock))) await this.#free(lock, stored)
  }

  /** Ends the scrub if its process is certainly dead; returns whether it did. */
  async freeIfGone(lock: Lock): Promise<boolean> {
    const { shelf, isOwn } = this.#options
    if (isOwn(lock.id) || !(await this.#isGone(lock))) return false
    await this.#free(lock, await shelf.read(lock.id))
    return true
  }

  /** Tells in the report of a dead process that it is; one that has ended stays as it is. */
  async end(stored: Stored): Promise<void> {
    const { report, count } = stored
    if (report.state !== 'running') return
    endReport(report, 'failed', 'The server that ran it has stopped. Start it again.')
    await this.#options.shelf.write({ ...stored, count: count + 1 })
  }

  async #isGone({ owner }: Lock): Promise<boolean> {
    const { backend } = this.#options.rooms
    // What this process had begun and does not know of any more came to nothing.
    if (owner === this.#options.owner) return true
    return hasOwners(backend) && (await backend.isGone(owner))
  }

  async #free({ id }: Lock, stored: Stored | undefined): Promise<void> {
    if (stored) await this.end(stored)
    await this.#options.shelf.unlock(id)
  }
}
