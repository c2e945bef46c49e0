// The published versions, read once and kept by key and tag: what is asked of one name is asked of
// the store each time; only the list of all names may be a few seconds old.

import pLimit from 'p-limit'
import {
  type Backend,
  type Scanned,
  type Stat,
  exclusiveBytesMax,
  hasScan,
  readAll,
} from './backend.ts'
import { ImageError, isImageError, orUndefined } from './errors.ts'
import { catalogPrefix, parseRecordKey, recordKey, recordPrefix } from './layout.ts'
import { type Known, Look, unreadable } from './look.ts'
import { type VersionRecord, compareNewestFirst, parseRecord } from './record.ts'

const readsAtOnce = 32

/** What a refresh found that this process did not do itself. */
export interface CatalogChanges {
  added: VersionRecord[]
  removed: VersionRecord[]
}

export class Catalog {
  readonly #backend: Backend
  readonly #onProblem: (error: Error) => void
  readonly #onChanges: (changes: CatalogChanges) => void
  /** Each name's records by version, of the last refresh and of what was done here since. */
  readonly #names = new Map<string, Map<string, VersionRecord>>()
  /** What was read, by key: what has the same tag still need not be read again. */
  #known = new Map<string, Known>()
  readonly #limit = pLimit(readsAtOnce)
  /** Keys of records that changed here while a refresh ran: what it saw of them may be old. */
  #changedMeanwhile: Set<string> | undefined
  #refreshing: Promise<void> | undefined
  #refreshedAtMs = -Infinity
  #looking: Promise<Look> | undefined
  /** The look that begins after the one under way. */
  #following: Promise<Look> | undefined
  #sortedNames: string[] | undefined
  readonly #newest = new Map<string, VersionRecord>()
  /** Ids of records whose bytes were gone when this process looked for them. */
  readonly #lost = new Set<string>()
  /** Changes whenever a list of names made of this may have. */
  revision = 0

  /** `onChanges` is told what each refresh has found. */
  constructor(
    backend: Backend,
    onProblem: (error: Error) => void,
    onChanges: (changes: CatalogChanges) => void = () => {},
  ) {
    this.#backend = backend
    this.#onProblem = onProblem
    this.#onChanges = onChanges
  }

  /** The records of one name as the store has them now, newest first. */
  async fresh(name: string): Promise<VersionRecord[]> {
    return (await this.look(name)).records().toSorted(compareNewestFirst)
  }

  /** Whether a version of the name goes by a uuid, as the store has it now. */
  async goesBy(name: string, uuid: string): Promise<boolean> {
    return (await this.look(name)).records().some((record) => record.uuid === uuid)
  }

  /**
   * What the store holds, of one name or of all, in a look that begins after this call: not one that
   * was under way, which may have missed what the caller waits for. Calls that wait share one.
   */
  async look(name?: string): Promise<Look> {
    if (name !== undefined) return await this.#lookAt(this.#list(recordPrefix(name)))
    this.#following ??= Promise.resolve(this.#looking)
      .catch(() => {})
      .then(async () => {
        this.#following = undefined
        this.#looking = this.#lookAtAll()
        return await this.#looking
      })
    return await this.#following
  }

  /** All records that this process knows of: some may be gone, and some be missing. */
  *known(): Generator<VersionRecord> {
    for (const { record } of this.#known.values()) if (record) yield record
    yield* this.records()
  }

  /** All names, sorted, of the last refresh and of what was done here since. */
  names(): string[] {
    return (this.#sortedNames ??= [...this.#names.keys()].toSorted())
  }

  /** The newest record of a name, of the last refresh and of what was done here since. */
  newest(name: string): VersionRecord | undefined {
    const known = this.#newest.get(name)
    if (known) return known
    const [newest] = [...(this.#names.get(name)?.values() ?? [])].toSorted(compareNewestFirst)
    if (newest) this.#newest.set(name, newest)
    return newest
  }

  /** What was learned of a record's bytes: whether they are gone. */
  note({ id }: VersionRecord, isLost: boolean): void {
    if (isLost === this.#lost.has(id)) return
    if (isLost) this.#lost.add(id)
    else this.#lost.delete(id)
    this.revision += 1
  }

  /** Whether the bytes of a record were gone when this process looked for them last. */
  isLost({ id }: VersionRecord): boolean {
    return this.#lost.has(id)
  }

  /** All records, of the last refresh and of what was done here since. */
  *records(): Generator<VersionRecord> {
    for (const records of this.#names.values()) yield* records.values()
  }

  /** How old the list of names is, in milliseconds. */
  ageMs(): number {
    return performance.now() - this.#refreshedAtMs
  }

  /** Lists the whole catalog and reads what is new in it. Calls that overlap share one. */
  async refresh(): Promise<void> {
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined))
    await this.#refreshing
  }

  /** This process has published, or seen published, a record. */
  add(record: VersionRecord): void {
    this.#changedMeanwhile?.add(recordKey(record.name, record.version))
    const records = this.#names.get(record.name) ?? new Map<string, VersionRecord>()
    if (!this.#names.has(record.name)) this.#sortedNames = undefined
    records.set(record.version, record)
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

  async #refresh(): Promise<void> {
    const startedAtMs = performance.now()
    const changed = (this.#changedMeanwhile = new Set<string>())
    const look = await this.#lookAtAll()
    this.#changedMeanwhile = undefined
    const changes = this.#replace(look.byName(), changed)
    this.#refreshedAtMs = startedAtMs
    this.#onChanges(changes)
  }

  async #lookAtAll(): Promise<Look> {
    const look = await this.#lookAt(this.#scan())
    this.#known = new Map(look.found)
    return look
  }

  async *#list(prefix: string): AsyncGenerator<Scanned> {
    for await (const stat of this.#backend.list(prefix)) yield { stat }
  }

  /** The whole catalog, with the contents of what is not known where that is cheap. */
  async *#scan(): AsyncGenerator<Scanned> {
    if (!hasScan(this.#backend)) {
      yield* this.#list(catalogPrefix)
      return
    }
    const tags = [...this.#known].map(([key, { tag }]): [string, string] => [key, tag])
    yield* this.#backend.scan(catalogPrefix, new Map(tags))
  }

  async #lookAt(found: AsyncIterable<Scanned>): Promise<Look> {
    const look = new Look()
    const reads: Promise<void>[] = []
    for await (const each of found) {
      const pending = this.#read(each, look)
      if (!pending) continue
      // Awaited below; where the list fails before that, its failure is the one to tell.
      pending.catch(() => {})
      reads.push(pending)
    }
    await Promise.all(reads)
    return look
  }

  #replace(found: Map<string, Map<string, VersionRecord>>, changed: Set<string>): CatalogChanges {
    const changes: CatalogChanges = { added: [], removed: [] }
    for (const name of new Set([...found.keys(), ...this.#names.keys()])) {
      const before = this.#names.get(name)
      const after = found.get(name) ?? new Map<string, VersionRecord>()
      // Version by version: a name that is always being changed here would else never be seen again.
      for (const version of new Set([...after.keys(), ...(before?.keys() ?? [])])) {
        if (!changed.has(recordKey(name, version))) continue
        const kept = before?.get(version)
        if (kept) after.set(version, kept)
        else after.delete(version)
      }
      for (const record of after.values()) {
        if (before?.get(record.version)?.id !== record.id) changes.added.push(record)
      }
      for (const record of before?.values() ?? []) {
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

  /** Adds what is under one key to a look, from memory when its tag is known. */
  #read({ stat, content }: Scanned, look: Look): Promise<void> | undefined {
    if (!parseRecordKey(stat.key)) return undefined
    const known = this.#known.get(stat.key)
    if (known?.tag === stat.tag) {
      look.found.set(stat.key, known)
      return undefined
    }
    const take = (body: Uint8Array): void => {
      const read = this.#parse(stat, body)
      look.found.set(stat.key, read)
      this.#known.set(stat.key, read)
    }
    if (content) {
      take(content)
      return undefined
    }
    return this.#limit(async () => {
      if (stat.size > exclusiveBytesMax) return this.#tooLarge(stat)
      const bytes = await orUndefined(this.#backend.get(stat.key))
      if (bytes) take(await readAll(bytes))
    })
  }

  /** What is no record, or that of another key, must not hide all others. */
  #parse(stat: Stat, body: Uint8Array): Known {
    const text = Buffer.from(body).toString()
    try {
      const record = parseRecord(stat.key, text)
      if (recordKey(record.name, record.version) === stat.key) return { tag: stat.tag, record }
    } catch (error) {
      if (!isImageError(error, 'data_loss')) throw error
      this.#onProblem(error)
    }
    return unreadable(stat, text)
  }

  /** No record is so large: it names nothing. */
  #tooLarge({ key, size }: Stat): void {
    const what = `${key} has ${size} bytes, more than a version record may have; it is ignored.`
    this.#onProblem(new ImageError('data_loss', what))
  }
}
