// The published versions, read once and kept by key and tag: what is asked of one name is asked of
// the store each time; only the list of all names may be a few seconds old.

import pLimit from 'p-limit'
import { type Backend, type Scanned, type Stat, hasScan, readAll } from './backend.ts'
import { isImageError, orUndefined } from './errors.ts'
import { catalogPrefix, parseRecordKey, recordKey, recordPrefix } from './layout.ts'
import { type VersionRecord, compareNewestFirst, parseRecord } from './record.ts'

const readsAtOnce = 32

/** What a refresh found that this process did not do itself. */
export interface CatalogChanges {
  added: VersionRecord[]
  removed: VersionRecord[]
}

interface Cached {
  tag: string
  record: VersionRecord
}

export class Catalog {
  readonly #backend: Backend
  readonly #onProblem: (error: Error) => void
  /** Each name's records by version. Of names that a refresh or a fresh look has shown. */
  readonly #names = new Map<string, Map<string, Cached>>()
  readonly #limit = pLimit(readsAtOnce)
  /** Keys of records that changed here while a refresh ran: what it saw of them may be old. */
  #changedMeanwhile: Set<string> | undefined
  #refreshing: Promise<CatalogChanges> | undefined
  #refreshedAtMs = -Infinity
  #sortedNames: string[] | undefined
  readonly #newest = new Map<string, VersionRecord>()
  /** Changes whenever a list of names made of this may have. */
  revision = 0

  constructor(backend: Backend, onProblem: (error: Error) => void) {
    this.#backend = backend
    this.#onProblem = onProblem
  }

  /** The records of one name as the store has them now, newest first. */
  async fresh(name: string): Promise<VersionRecord[]> {
    const stats: Stat[] = []
    for await (const stat of this.#backend.list(recordPrefix(name))) stats.push(stat)
    const known = this.#names.get(name)
    const found = new Map<string, Cached>()
    await Promise.all(stats.flatMap((stat) => this.#read(stat, known, found) ?? []))
    return [...found.values()].map((each) => each.record).toSorted(compareNewestFirst)
  }

  /** All names, sorted, of the last refresh and of what was done here since. */
  names(): string[] {
    return (this.#sortedNames ??= [...this.#names.keys()].toSorted())
  }

  /** The newest record of a name, of the last refresh and of what was done here since. */
  newest(name: string): VersionRecord | undefined {
    const known = this.#newest.get(name)
    if (known) return known
    const records = [...(this.#names.get(name)?.values() ?? [])].map((each) => each.record)
    const [newest] = records.toSorted(compareNewestFirst)
    if (newest) this.#newest.set(name, newest)
    return newest
  }

  /** All records, of the last refresh and of what was done here since. */
  *records(): Generator<VersionRecord> {
    for (const records of this.#names.values()) {
      for (const { record } of records.values()) yield record
    }
  }

  /** How old the list of names is, in milliseconds. */
  ageMs(): number {
    return performance.now() - this.#refreshedAtMs
  }

  /** Lists the whole catalog and reads what is new in it. Calls that overlap share one. */
  async refresh(): Promise<CatalogChanges> {
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined))
    return await this.#refreshing
  }

  /** This process has published, or seen published, a record. */
  add(record: VersionRecord): void {
    this.#changedMeanwhile?.add(recordKey(record.name, record.version))
    const records = this.#names.get(record.name) ?? new Map<string, Cached>()
    if (!this.#names.has(record.name)) this.#sortedNames = undefined
    // No tag is "": the next look at the store reads it once more.
    records.set(record.version, { tag: '', record })
    this.#names.set(record.name, records)
    this.#changed(record.name)
  }

  /** This process has removed a record. */
  remove(name: string, version: string): void {
    this.#changedMeanwhile?.add(recordKey(name, version))
    const records = this.#names.get(name)
    records?.delete(version)
    if (records?.size === 0) {
      this.#names.delete(name)
      this.#sortedNames = undefined
    }
    this.#changed(name)
  }

  #changed(name: string): void {
    this.#newest.delete(name)
    this.revision += 1
  }

  async #refresh(): Promise<CatalogChanges> {
    const startedAtMs = performance.now()
    const changed = (this.#changedMeanwhile = new Set<string>())
    const found = new Map<string, Map<string, Cached>>()
    const reads: Promise<void>[] = []
    for await (const { stat, content } of this.#scan()) {
      const name = parseRecordKey(stat.key)?.name
      if (name === undefined) continue
      let records = found.get(name)
      if (!records) found.set(name, (records = new Map()))
      const pending = this.#read(stat, this.#names.get(name), records, content)
      if (!pending) continue
      // Awaited below; where the list fails before that, its failure is the one to tell.
      pending.catch(() => {})
      reads.push(pending)
    }
    await Promise.all(reads)
    this.#changedMeanwhile = undefined
    const changes = this.#replace(found, changed)
    this.#refreshedAtMs = startedAtMs
    return changes
  }

  /** The whole catalog, with the contents of what is not known where that is cheap. */
  async *#scan(): AsyncGenerator<Scanned> {
    if (!hasScan(this.#backend)) {
      for await (const stat of this.#backend.list(catalogPrefix)) yield { stat }
      return
    }
    const known = new Map<string, string>()
    for (const records of this.#names.values()) {
      for (const { record, tag } of records.values()) {
        known.set(recordKey(record.name, record.version), tag)
      }
    }
    yield* this.#backend.scan(catalogPrefix, known)
  }

  #replace(found: Map<string, Map<string, Cached>>, changed: Set<string>): CatalogChanges {
    const changes: CatalogChanges = { added: [], removed: [] }
    for (const name of new Set([...found.keys(), ...this.#names.keys()])) {
      const before = this.#names.get(name)
      const after = found.get(name) ?? new Map<string, Cached>()
      // Version by version: a name that is always being changed here would else never be seen again.
      for (const version of new Set([...after.keys(), ...(before?.keys() ?? [])])) {
        if (!changed.has(recordKey(name, version))) continue
        const kept = before?.get(version)
        if (kept) after.set(version, kept)
        else after.delete(version)
      }
      for (const { record } of after.values()) {
        if (before?.get(record.version)?.record.id !== record.id) changes.added.push(record)
      }
      for (const { record } of before?.values() ?? []) {
        if (!after.has(record.version)) changes.removed.push(record)
      }
      if (after.size > 0) this.#names.set(name, after)
      else this.#names.delete(name)
    }
    for (const { name } of [...changes.added, ...changes.removed]) {
      this.#changed(name)
      this.#sortedNames = undefined
    }
    return changes
  }

  /** Puts the record of `stat` into `found`, from memory when its tag is known. */
  #read(
    stat: Stat,
    known: Map<string, Cached> | undefined,
    found: Map<string, Cached>,
    content?: Uint8Array,
  ): Promise<void> | undefined {
    const version = parseRecordKey(stat.key)?.version
    if (version === undefined) return undefined
    const cached = known?.get(version)
    if (cached?.tag === stat.tag) {
      found.set(version, cached)
      return undefined
    }
    const take = (body: Uint8Array): void => {
      const entry = this.#parse(stat, body)
      if (!entry) return
      found.set(version, entry)
      // A record never changes: one that was added here learns its tag by the first look.
      if (known?.get(version)?.record.id === entry.record.id) known.set(version, entry)
    }
    if (content) {
      take(content)
      return undefined
    }
    return this.#limit(async () => {
      const bytes = await orUndefined(this.#backend.get(stat.key))
      if (bytes) take(await readAll(bytes))
    })
  }

  /** Undefined for what is no record, or that of another key: one must not hide all others. */
  #parse(stat: Stat, body: Uint8Array): Cached | undefined {
    try {
      const record = parseRecord(stat.key, Buffer.from(body).toString())
      const isOwn = recordKey(record.name, record.version) === stat.key
      return isOwn ? { tag: stat.tag, record } : undefined
    } catch (error) {
      if (!isImageError(error, 'data_loss')) throw error
      this.#onProblem(error)
      return undefined
    }
  }
}
