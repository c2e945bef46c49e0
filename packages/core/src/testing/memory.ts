// A whole backend in memory, for tests: several instances, each as if in its own process, share
// one store, and a hook pauses, fails or stops any verb before it has an effect.

import { type Backend, type Bytes, type GetOptions, type Owners } from '../backend.ts'
import { type PutOptions, type Remains, type Resumable, type Space } from '../backend.ts'
import { type Stat, type Unfinished, type UnfinishedPut, assertKey } from '../backend.ts'
import { assertPrefix, exclusiveBytesMax } from '../backend.ts'
import { ImageError } from '../errors.ts'
import { assertWithin, chunksOf, orAborted, readEach } from './memory-bytes.ts'

/** What a store that goes on in place keeps of an unfinished put: whole parts of this size. */
export const memoryPartBytes: number = 64 * 1024

/** One committed object. */
interface MemoryObject {
  body: Uint8Array
  stat: Stat
}

/** A put, and the bytes that it has so far. */
interface MemoryPut extends UnfinishedPut {
  owner: string
  body: Uint8Array[]
  lengthBytes: number
  /** Whether it may be gone on with. */
  isResumable: boolean
}

/** The medium: what survives when one of the instances over it dies. */
export class MemoryStore {
  readonly objects: Map<string, MemoryObject> = new Map()
  readonly unfinished: Map<string, MemoryPut> = new Map()
  /** The store's own clock, in nanoseconds since 1970. Changes move it on, a test may set it. */
  now: bigint = BigInt(Date.now()) * 1_000_000n
  /** How much fits; a test may make it small. */
  totalBytes: number = 2 ** 40
  #usedBytes = 0
  #count = 0
  readonly #dead = new Set<string>()

  /** From now on no instance of this owner has any effect; what it has not finished stays. */
  kill(owner: string): void {
    this.#dead.add(owner)
  }

  isDead(owner: string): boolean {
    return this.#dead.has(owner)
  }

  get freeBytes(): number {
    return Math.max(0, this.totalBytes - this.#usedBytes)
  }

  /** A name that this store has not given before: for tags, ids and owners. */
  fresh(): string {
    this.#count += 1
    return String(this.#count)
  }

  write(key: string, body: Uint8Array): Stat {
    this.remove(key)
    this.now += 1n
    const stat = { key, size: body.length, tag: this.fresh(), modifiedAt: this.now }
    this.objects.set(key, { body, stat })
    this.#usedBytes += body.length
    return { ...stat }
  }

  remove(key: string): void {
    this.#usedBytes -= this.objects.get(key)?.body.length ?? 0
    this.objects.delete(key)
  }
}

export type Verb = 'put' | 'get' | 'stat' | 'list' | 'delete'

/** Awaited before a verb has any effect; what it throws, the verb rejects with. */
export type BeforeVerb = (verb: Verb, key: string) => Promise<void> | void

export interface MemoryOptions {
  /** The store of other instances; a new one of its own otherwise. */
  shared?: MemoryStore
  /** The process that this instance plays; another one for each otherwise. */
  owner?: string
  before?: BeforeVerb
  /**
   * As on S3, a put goes on in place after what another has left (PutOptions.after), in whole parts.
   * Otherwise as on a disk: what was left is read and put once more.
   */
  goesOn?: boolean
}

/** Keeps the contract of Backend over a MemoryStore. Every commit is one synchronous step. */
export class MemoryBackend implements Backend, Unfinished, Resumable, Owners, Space {
  readonly name = 'memory'
  readonly owner: string
  readonly store: MemoryStore
  /** May be set at any time; see BeforeVerb. */
  before: BeforeVerb | undefined
  readonly #goesOn: boolean

  constructor(options: MemoryOptions = {}) {
    this.store = options.shared ?? new MemoryStore()
    this.owner = options.owner ?? `memory-${this.store.fresh()}`
    this.before = options.before
    this.#goesOn = options.goesOn ?? false
  }

  async put(key: string, bytes: Bytes, options: PutOptions = {}): Promise<Stat> {
    assertKey(key)
    const { signal, ifAbsent = false, size = 0 } = options
    await this.#begin('put', key, signal)
    this.#assertFits(key, size)
    const { store } = this
    const put = this.#beginPut(key, options)
    let isKept = false
    try {
      await readEach(bytes, signal, (chunk) => {
        if (store.isDead(this.owner)) return
        const before = this.#durable(put.lengthBytes)
        put.lengthBytes += chunk.length
        if (ifAbsent && put.lengthBytes > exclusiveBytesMax) {
          const most = `The most that ifAbsent takes is ${exclusiveBytesMax} bytes`
          throw new ImageError('invalid_argument', `${most}; ${key} has more.`)
        }
        this.#assertFits(key, put.lengthBytes)
        put.body.push(chunk)
        const durableBytes = this.#durable(put.lengthBytes)
        if (durableBytes > before)
          options.onDurable?.(durableBytes, this.#goesOn ? put.id : undefined)
      })
      // From here to the end there is no await: the commit is one step to every other instance.
      this.#assertAlive()
      if (!store.unfinished.has(put.id)) throw wasDiscarded(key, options.after)
      if (ifAbsent && store.objects.has(key)) {
        throw new ImageError('already_exists', `${key} exists already.`)
      }
      return store.write(key, Buffer.concat(put.body, put.lengthBytes))
    } catch (error) {
      isKept = !store.isDead(this.owner) && (options.keep?.(error) ?? false)
      throw error
    } finally {
      // The dead clean up nothing.
      if (!store.isDead(this.owner) && !isKept) store.unfinished.delete(put.id)
    }
  }

  #beginPut(key: string, { after, keep }: PutOptions): MemoryPut {
    const { store, owner } = this
    store.now += 1n
    const common = { key, owner, modifiedAt: store.now, isResumable: keep !== undefined }
    if (after === undefined) {
      const put = { ...common, id: store.fresh(), body: [], lengthBytes: 0 }
      store.unfinished.set(put.id, put)
      return put
    }
    const left = store.unfinished.get(after.id)
    const isThere = left?.key === key && after.offset <= this.#durable(left.lengthBytes)
    if (!this.#goesOn || !left || !isThere) throw wasDiscarded(key, after)
    const prefix = Buffer.concat(left.body, left.lengthBytes).subarray(0, after.offset)
    const put = { ...common, id: after.id, body: [prefix], lengthBytes: after.offset }
    store.unfinished.set(put.id, put)
    return put
  }

  /** How much of so many bytes outlives the put. */
  #durable(lengthBytes: number): number {
    return this.#goesOn ? lengthBytes - (lengthBytes % memoryPartBytes) : lengthBytes
  }

  async remains(key: string, owner: string, durableBytes: number): Promise<Remains | undefined> {
    assertKey(key)
    this.#assertAlive()
    const { unfinished } = this.store
    const left = [...unfinished.values()].findLast(
      (put) =>
        put.key === key &&
        this.#durable(put.lengthBytes) >= durableBytes &&
        (this.#goesOn || (put.isResumable && put.owner === owner)),
    )
    if (!left || durableBytes <= 0) return undefined
    const offset = this.#durable(left.lengthBytes)
    if (this.#goesOn) return { id: left.id, offset }
    const read = async (signal?: AbortSignal): Promise<Bytes> => {
      if (!unfinished.has(left.id)) throw goneMeanwhile(key)
      return chunksOf(Buffer.concat(left.body, left.lengthBytes), 0, offset, signal)
    }
    return { id: left.id, offset, read }
  }

  async get(key: string, options: GetOptions = {}): Promise<Bytes> {
    assertKey(key)
    await this.#begin('get', key, options.signal)
    const { body } = this.#find(key)
    const { start, end } = options.range ?? { start: 0, end: body.length - 1 }
    if (options.range !== undefined) assertWithin({ start, end }, body.length, key)
    return chunksOf(body, start, end + 1, options.signal)
  }

  async stat(key: string): Promise<Stat> {
    assertKey(key)
    await this.#begin('stat', key)
    return { ...this.#find(key).stat }
  }

  async *list(prefix: string): AsyncIterable<Stat> {
    assertPrefix(prefix)
    await this.#begin('list', prefix)
    const stats = [...this.store.objects.values()].map(({ stat }) => stat)
    const found = stats.filter(({ key }) => key.startsWith(prefix))
    // Keys are ASCII: the order of code units is that of bytes.
    found.sort((one, two) => (one.key < two.key ? -1 : 1))
    for (const stat of found) yield { ...stat }
  }

  async delete(key: string): Promise<void> {
    assertKey(key)
    await this.#begin('delete', key)
    this.store.remove(key)
  }

  async *unfinished(): AsyncIterable<UnfinishedPut> {
    this.#assertAlive()
    for (const { id, key, modifiedAt, owner } of this.store.unfinished.values()) {
      yield { id, key, modifiedAt, owner }
    }
  }

  async discard(id: string): Promise<void> {
    this.#assertAlive()
    this.store.unfinished.delete(id)
  }

  async isGone(owner: string): Promise<boolean> {
    return this.store.isDead(owner)
  }

  async space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return { freeBytes: this.store.freeBytes, totalBytes: this.store.totalBytes }
  }

  async #begin(verb: Verb, key: string, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    if (this.before !== undefined) await orAborted(this.before(verb, key), signal)
    this.#assertAlive()
  }

  #assertAlive(): void {
    if (this.store.isDead(this.owner)) {
      throw new ImageError('unavailable', `The process ${this.owner} was killed by its test.`)
    }
  }

  #assertFits(key: string, size: number): void {
    const free = this.store.freeBytes
    if (size > free) {
      throw new ImageError('resource_exhausted', `${key} needs ${size} bytes; ${free} are free.`)
    }
  }

  #find(key: string): MemoryObject {
    const found = this.store.objects.get(key)
    if (found === undefined) throw new ImageError('not_found', `There is no ${key}.`)
    return found
  }
}

/** What a put rejects with that finds its bytes thrown away. */
function wasDiscarded(key: string, after: Remains | undefined): ImageError {
  if (after) return goneMeanwhile(key)
  return new ImageError('unavailable', `The put of ${key} was discarded while it ran.`)
}

function goneMeanwhile(key: string): ImageError {
  const text = `What was left of a put of ${key} is gone. Begin anew.`
  return new ImageError('aborted', text, { reason: 'storage_unavailable' })
}
