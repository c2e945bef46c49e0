// The scrubs of a store as it keeps them: the lock that names the one which runs, and the reports, each
// written by one process. The newest twenty are kept.

import { type Backend, type Stat, bytesOf, readAll } from '../backend.ts'
import { isImageError, orUndefined } from '../errors.ts'
import { parseScrubKey, scrubCancelKey, scrubLockKey, scrubPrefix } from '../layout.ts'
import { layoutVersion, scrubReportKey } from '../layout.ts'
import { parseObject } from '../record.ts'
import type { ScrubReport } from './report.ts'

const reportsMax = 20
/** A thousand findings of the greatest length. */
const reportBytesMax = 4 * 1024 * 1024

/** Who runs the one scrub of the store. */
export interface Lock {
  id: string
  /** The process, as in a claim. */
  owner: string
}

/** A report, and what other processes need to know of it. */
export interface Stored {
  layout: number
  owner: string
  /** Changes with each writing: a sign of life. */
  count: number
  /** When it began, by the store's own clock, in nanoseconds since 1970. */
  startedNs: string
  report: ScrubReport
}

export class Shelf {
  readonly #backend: Backend

  constructor(backend: Backend) {
    this.#backend = backend
  }

  /** Makes the store's one scrub this one; `already_exists` while there is another. */
  async lock(lock: Lock): Promise<Stat> {
    return await this.#put(scrubLockKey, lock, true)
  }

  /** The scrub that runs, if one does. One that can not be read is nobody's. */
  async locked(): Promise<Lock | undefined> {
    const found: Partial<Lock> | undefined = await this.#read(scrubLockKey)
    return found && { id: String(found.id), owner: String(found.owner) }
  }

  /**
   * Lets the next scrub begin. Only what is still this one's: should another slip in between, two run
   * for some seconds, until the later look of one of them; both keep every protocol.
   */
  async unlock(id: string): Promise<void> {
    if ((await this.locked())?.id === id) await this.#backend.delete(scrubLockKey)
  }

  async write(stored: Omit<Stored, 'layout'>): Promise<void> {
    await this.#put(scrubReportKey(stored.report.id), { layout: layoutVersion, ...stored }, false)
  }

  /** Undefined when there is none, or none that can be read. */
  async read(id: string): Promise<Stored | undefined> {
    const found: Partial<Stored> | undefined = await this.#read(scrubReportKey(id))
    return found?.report && found.startedNs !== undefined ? (found as Stored) : undefined
  }

  /** All that are kept, the newest first. */
  async all(): Promise<Stored[]> {
    const found: Stored[] = []
    for (const { id, kind } of await this.#keys()) {
      const stored = kind === 'report' ? await this.read(id) : undefined
      if (stored) found.push(stored)
    }
    return found.toSorted((one, other) => (startOf(one) > startOf(other) ? -1 : 1))
  }

  /** Removes what is older than the newest twenty, and wishes that nobody waits for. */
  async prune(): Promise<void> {
    const kept = (await this.all()).slice(0, reportsMax).map(({ report }) => report.id)
    for (const { id } of await this.#keys()) if (!kept.includes(id)) await this.remove(id)
  }

  async wishCancelled(id: string): Promise<void> {
    await this.#put(scrubCancelKey(id), { at: new Date().toISOString() }, false)
  }

  async isCancelled(id: string): Promise<boolean> {
    return (await orUndefined(this.#backend.stat(scrubCancelKey(id)))) !== undefined
  }

  async remove(id: string): Promise<void> {
    await this.#backend.delete(scrubReportKey(id))
    await this.#backend.delete(scrubCancelKey(id))
  }

  async #keys(): Promise<{ id: string; kind: 'report' | 'cancel' }[]> {
    const found = []
    for await (const { key } of this.#backend.list(scrubPrefix)) {
      const parsed = parseScrubKey(key)
      if (parsed) found.push(parsed)
    }
    return found
  }

  /** Undefined when it is absent; empty when it can not be read. */
  async #read(key: string): Promise<object | undefined> {
    const bytes = await orUndefined(this.#backend.get(key))
    if (!bytes) return undefined
    try {
      return parseObject(key, (await readAll(bytes, reportBytesMax)).toString())
    } catch (error) {
      if (!isImageError(error, 'data_loss')) throw error
      return {}
    }
  }

  async #put(key: string, value: object, ifAbsent: boolean): Promise<Stat> {
    return await this.#backend.put(key, bytesOf(`${JSON.stringify(value)}\n`), { ifAbsent })
  }
}

export function startOf({ startedNs }: Stored): bigint {
  return BigInt(startedNs)
}
