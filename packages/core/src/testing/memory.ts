// A whole backend in memory, for tests: several instances, each as if in its own process, share
// one store, and a hook pauses, fails or stops any verb before it has an effect.

import { type Backend, type Bytes, type GetOptions, type Owners } from '../backend.ts'
import { type PutOptions, type Range, type Space, type Stat, type Unfinished } from '../backend.ts'
import { type UnfinishedPut, assertKey, assertPrefix, exclusiveBytesMax } from '../backend.ts'
import { ImageError } from '../errors.ts'

const chunkBytesMax = 64 * 1024

/** One committed object. */
interface MemoryObject {
  body: Uint8Array
  stat: Stat
}

/** The medium: what survives when one of the instances over it dies. */
export class MemoryStore {
  readonly objects: Map<string, MemoryObject> = new Map()
  readonly unfinished: Map<string, UnfinishedPut> = new Map()
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
}

/** Keeps the contract of Backend over a MemoryStore. Every commit is one synchronous step. */
export class MemoryBackend implements Backend, Unfinished, Owners, Space {
  readonly name = 'memory'
  readonly owner: string
  readonly store: MemoryStore
  /** May be set at any time; see BeforeVerb. */
  before: BeforeVerb | undefined

  constructor(options: MemoryOptions = {}) {
    this.store = options.shared ?? new MemoryStore()
    this.owner = options.owner ?? `memory-${this.store.fresh()}`
    this.before = options.before
  }

  async put(key: string, bytes: Bytes, options: PutOptions = {}): Promise<Stat> {
    assertKey(key)
    const { signal, ifAbsent = false, size = 0 } = options
    await this.#begin('put', key, signal)
    this.#assertFits(key, size)
    const { store } = this
    const id = store.fresh()
    store.now += 1n
    store.unfinished.set(id, { id, key, modifiedAt: store.now, owner: this.owner })
    try {
      const body = await readWhole(bytes, signal, (length) => {
        if (ifAbsent && length > exclusiveBytesMax) {
          const most = `The most that ifAbsent takes is ${exclusiveBytesMax} bytes`
          throw new ImageError('invalid_argument', `${most}; ${key} has more.`)
        }
        this.#assertFits(key, length)
      })
      // From here to the end there is no await: the commit is one step to every other instance.
      this.#assertAlive()
      if (!store.unfinished.has(id)) {
        throw new ImageError('unavailable', `The put of ${key} was discarded while it ran.`)
      }
      if (ifAbsent && store.objects.has(key)) {
        throw new ImageError('already_exists', `${key} exists already.`)
      }
      return store.write(key, body)
    } finally {
      // The dead clean up nothing.
      if (!store.isDead(this.owner)) store.unfinished.delete(id)
    }
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
    for (const put of this.store.unfinished.values()) yield { ...put }
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

/** Settles as `work` does, or rejects with the signal's reason as soon as that is aborted. */
async function orAborted<T>(work: T | PromiseLike<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return await work
  const over = new AbortController()
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { signal: over.signal })
  })
  try {
    return await Promise.race([aborted, work])
  } finally {
    over.abort()
  }
}

/** A copy of all bytes; `check` sees how many there are whenever more have come. */
async function readWhole(
  bytes: Bytes,
  signal: AbortSignal | undefined,
  check: (length: number) => void,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  const iterator = bytes[Symbol.asyncIterator]()
  try {
    for (;;) {
      const step = await orAborted(iterator.next(), signal)
      if (step.done === true) break
      length += step.value.length
      check(length)
      chunks.push(Uint8Array.from(step.value))
    }
    signal?.throwIfAborted()
  } catch (error) {
    // Not awaited: the return() of a generator that hangs waits for as long as it does.
    void letGo(iterator)
    throw error
  }
  return Buffer.concat(chunks, length)
}

async function letGo(iterator: AsyncIterator<Uint8Array>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // The error for which the source was given up says more than its clean-up can.
  }
}

function assertWithin({ start, end }: Range, size: number, key: string): void {
  if (start < 0 || end < start || end >= size) {
    const asked = `Bytes ${start} to ${end}`
    throw new ImageError('out_of_range', `${asked} are not within ${key} of ${size} bytes.`)
  }
}

/** Copies, for chunks belong to the caller. An object's body is never written to: a snapshot. */
async function* chunksOf(
  body: Uint8Array,
  start: number,
  end: number,
  signal?: AbortSignal,
): Bytes {
  for (let at = start; at < end; at += chunkBytesMax) {
    signal?.throwIfAborted()
    yield Uint8Array.from(body.subarray(at, Math.min(end, at + chunkBytesMax)))
  }
}
