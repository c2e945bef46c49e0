// The one process among those of a store that does what must not be done twice at a time: it names itself
// in an object and counts there; another takes that over when it is dead or silent.

import { type Backend, bytesOf, hasOwners, readAll } from './backend.ts'
import { isImageError, orUndefined } from './errors.ts'
import { Silence, slowReadMs } from './lease.ts'
import { freshId, parseObject } from './record.ts'

/** Who could not tell of itself for so long may have a successor: less than it takes to be silent. */
const quietMostMs = 20_000

interface Named {
  /** Of this term; a process that comes back begins another. */
  id: string
  owner: string
  count: number
}

export class Leader {
  readonly #backend: Backend
  readonly #key: string
  readonly #owner: string
  readonly #now: () => number
  readonly #silence = new Silence()
  #own: Named | undefined
  #toldAtMs = -Infinity

  /** `key` is that of the object. `now` is a monotonic clock, in milliseconds. */
  constructor(backend: Backend, key: string, now: () => number = () => performance.now()) {
    this.#backend = backend
    this.#key = key
    this.#owner = hasOwners(backend) ? backend.owner : freshId()
    this.#now = now
  }

  /** Whether this process still is it, as far as it can know without asking. */
  get isLeading(): boolean {
    return this.#own !== undefined && this.#now() - this.#toldAtMs < quietMostMs
  }

  /**
   * To be called every few seconds: tells that this process goes on, or sees whether it may begin. Two
   * may lead for the time between two calls; what they do must bear that.
   */
  async look(): Promise<boolean> {
    const askedAtMs = this.#now()
    const found = await this.#read()
    const own = this.#own
    if (own && found?.id === own.id) {
      own.count += 1
      await this.#put(own, false)
      this.#toldAtMs = askedAtMs
      return true
    }
    this.#own = undefined
    if (found && !(await this.#isOver(found, askedAtMs))) return false
    if (found) await this.#backend.delete(this.#key)
    return await this.#begin(askedAtMs)
  }

  /** Lets another begin at once. */
  async leave(): Promise<void> {
    const own = this.#own
    this.#own = undefined
    if (own && (await this.#read())?.id === own.id) await this.#backend.delete(this.#key)
  }

  async #begin(atMs: number): Promise<boolean> {
    const own = { id: freshId(), owner: this.#owner, count: 1 }
    try {
      await this.#put(own, true)
    } catch (error) {
      if (isImageError(error, 'already_exists')) return false
      throw error
    }
    this.#silence.keepOnly()
    this.#own = own
    this.#toldAtMs = atMs
    return true
  }

  async #isOver({ id, owner, count }: Named, askedAtMs: number): Promise<boolean> {
    // What this process does not know of any more: an answer that was lost on its way.
    if (owner === this.#owner) return true
    const nowMs = this.#now()
    this.#silence.keepOnly(new Set(nowMs - askedAtMs > slowReadMs ? [] : [id]))
    if (this.#silence.isSilent(id, String(count), nowMs)) return true
    return hasOwners(this.#backend) && (await this.#backend.isGone(owner))
  }

  /** Undefined when nobody is named; one that can not be read is nobody who lives. */
  async #read(): Promise<Named | undefined> {
    const bytes = await orUndefined(this.#backend.get(this.#key))
    if (!bytes) return undefined
    try {
      const found = parseObject(this.#key, (await readAll(bytes)).toString()) as Partial<Named>
      return { id: String(found.id), owner: String(found.owner), count: Number(found.count) }
    } catch (error) {
      if (!isImageError(error, 'data_loss')) throw error
      return { id: '', owner: '', count: 0 }
    }
  }

  async #put(named: Named, ifAbsent: boolean): Promise<void> {
    await this.#backend.put(this.#key, bytesOf(`${JSON.stringify(named)}\n`), { ifAbsent })
  }
}
