// What the engine's own tests are written in: stores over one medium, images that differ, and what
// is left on the medium afterwards.

import { setTimeout as pause } from 'node:timers/promises'
import { type Backend, type Bytes, readAll } from '../backend.ts'
import { Catalog } from '../catalog.ts'
import { ImageError } from '../errors.ts'
import { StoreEvents } from '../event.ts'
import { Hasher } from '../hasher.ts'
import type { Image } from '../image.ts'
import { Intake } from '../ingest.ts'
import type { IngestRequest } from '../request.ts'
import { Jobs } from '../job.ts'
import { blocksKey, bytesKey, configKey, recordKey } from '../layout.ts'
import { Lookup } from '../lookup.ts'
import { type Description, type VersionRecord, parseRecord } from '../record.ts'
import type { Rooms } from '../rooms.ts'
import { ImageStore } from '../store.ts'
import type { StoreOptions } from '../store-options.ts'
import { content } from './conformance/case.ts'
import { rawImage } from './images.ts'
import { MemoryBackend, MemoryStore } from './memory.ts'

export interface Instance {
  store: ImageStore
  backend: MemoryBackend
  problems: Error[]
}

/** The rooms of one server without its timers and threads: a test does their work itself. */
export function engine(
  backend: Backend,
  hasher: Hasher,
): { intake: Intake; rooms: Rooms; problems: Error[] } {
  const problems: Error[] = []
  const onProblem = (error: Error): void => void problems.push(error)
  const catalog = new Catalog(backend, onProblem)
  const jobs = new Jobs(backend, onProblem, (name, uuid) => catalog.goesBy(name, uuid))
  const rooms = { backend, catalog, jobs, onProblem }
  rooms.jobs.close()
  const lookup = new Lookup(rooms)
  const intake = new Intake({ rooms, lookup, events: new StoreEvents(), hasher })
  return { intake, rooms, problems }
}

/** One medium, and any number of servers over it. */
export class Town {
  readonly medium: MemoryStore = new MemoryStore()
  readonly #instances: Instance[] = []

  /** A server of its own process, with nothing of what others know. */
  async open(
    options: StoreOptions = {},
    backend: MemoryBackend = new MemoryBackend({ shared: this.medium }),
  ): Promise<Instance> {
    const problems: Error[] = []
    const onProblem = (error: Error): void => void problems.push(error)
    const store = await ImageStore.open(backend, { onProblem, ...options })
    const instance = { store, backend, problems }
    this.#instances.push(instance)
    return instance
  }

  async close(): Promise<void> {
    await Promise.all(this.#instances.map(({ store }) => store.close()))
    skip(-skippedMs)
  }

  /** All keys under a prefix, in order. */
  keys(prefix: string = ''): string[] {
    return [...this.medium.objects.keys()].filter((key) => key.startsWith(prefix)).toSorted()
  }

  /** What is there besides marks, which may stay for a week. */
  unmarked(): string[] {
    return this.keys().filter((key) => !key.startsWith('.marks/'))
  }

  /** Puts something there behind everybody's back. */
  plant(key: string, body: string): void {
    this.medium.write(key, Buffer.from(body))
  }

  text(key: string): string {
    return Buffer.from(this.medium.objects.get(key)?.body ?? []).toString()
  }

  /** Moves the store's own clock on. */
  pass(hours: number): void {
    this.medium.now += BigInt(Math.round(hours * 3600)) * 1_000_000_000n
  }
}

/** A claim about a town, which is closed afterwards. */
export function inTown(claim: (town: Town) => Promise<void>): () => Promise<void> {
  return async () => {
    const town = new Town()
    try {
      await claim(town)
    } finally {
      await town.close()
    }
  }
}

/** A raw disk; another seed gives other bytes. */
export function disk(seed: number = 1, sizeBytes: number = 4096): Buffer {
  const image = rawImage(sizeBytes)
  content(sizeBytes - 512, seed).copy(image, 512)
  return image
}

export async function* streamOf(body: Uint8Array, chunkBytes: number = 1024): Bytes {
  for (let at = 0; at < body.length; at += chunkBytes) yield body.subarray(at, at + chunkBytes)
}

export function description(overrides: Partial<Description> = {}): Description {
  return {
    sourceType: 'upload',
    parameters: {},
    labels: {},
    dataEngine: 'v1',
    minNumberOfCopies: 0,
    nodeSelector: [],
    diskSelector: [],
    expected: [],
    ...overrides,
  }
}

export function request(
  name: string,
  overrides: Partial<IngestRequest> & { expected?: string[] } = {},
): IngestRequest {
  const { expected = [], ...others } = overrides
  return { name, sizeMax: 2 ** 30, description: description({ expected }), ...others }
}

/** The error that `work` rejects with; it must be one of ours. */
export async function failure(work: Promise<unknown>): Promise<ImageError> {
  const found: unknown = await work.then(
    (value) => new Error(`it succeeded with ${JSON.stringify(value)}`),
    (error: unknown) => error,
  )
  if (found instanceof ImageError) return found
  throw new Error(`an ImageError was expected, found ${String(found)}`, { cause: found })
}

/** The keys of a version whose bytes came with it, as `Town.keys` gives them. */
export function keysOf(image: { name: string; version: string; uuid: string }): string[] {
  const { name, version, uuid } = image
  const beside = [bytesKey(name, uuid), configKey(name, uuid), blocksKey(name, uuid)]
  return [recordKey(name, version), ...beside]
}

/** The whole of a version, or of the newest. */
export async function bytesOf(store: ImageStore, name: string, version?: string): Promise<Buffer> {
  const { read } = await store.open(name, version === undefined ? {} : { version })
  return await readAll(await read())
}

/** The keys of all bytes. */
export function copies(town: Town): string[] {
  return town.keys().filter((key) => key.endsWith('/backing'))
}

/** A version record as it stands on the medium. */
export function recordOf(town: Town, name: string, version: string = '1'): VersionRecord {
  const key = recordKey(name, version)
  return parseRecord(key, town.text(key))
}

/** Takes a disk in. */
export async function put(
  store: Pick<ImageStore, 'ingest'>,
  name: string,
  seed: number,
  version?: string,
): Promise<Image> {
  const asked = request(name, version === undefined ? {} : { version })
  return (await store.ingest(asked, () => streamOf(disk(seed)))).image
}

/** An upload that leaves a failed image. */
export async function failOnce(
  store: Pick<ImageStore, 'ingest'>,
  name: string,
  version?: string,
): Promise<void> {
  const asked = request(name, { size: 1, ...(version !== undefined && { version }) })
  await failure(store.ingest(asked, () => streamOf(Buffer.alloc(0))))
}

/** An upload that has sent half of what it announced; `go` lets it send the rest. */
export async function half(
  store: ImageStore,
  name: string,
  version?: string,
  isAnnounced: boolean = true,
): Promise<{ go: () => Promise<Image> }> {
  const { opened, open } = latch()
  const reached = latch()
  const body = disk(9, 2 * 1024 * 1024)
  const size = isAnnounced ? { size: body.length } : {}
  const asked = request(name, { ...size, ...(version !== undefined && { version }) })
  const done = store.ingest(asked, async function* () {
    yield body.subarray(0, body.length / 2)
    reached.open()
    await opened
    yield body.subarray(body.length / 2)
  })
  await Promise.race([reached.opened, done])
  const isHalf = ({ state, processedSize }: Image): boolean =>
    state === 'in-progress' && processedSize === body.length / 2
  // The storage has it a little later.
  while (!(await store.versions(name)).some(isHalf)) await pause(1)
  return {
    async go(): Promise<Image> {
      open()
      return (await done).image
    },
  }
}

/** A promise and what settles it. */
export function latch(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open }
}

/** Random numbers from 0 to 1 that a printed seed gives again. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return ((state ^ (state >>> 15)) >>> 0) / 2 ** 32
  }
}

const realNow = performance.now.bind(performance)
let skippedMs = 0

/** Moves the monotonic clock of this process on, instead of waiting. Timers do not see it. */
export function skip(ms: number): void {
  skippedMs += ms
  performance.now = () => realNow() + skippedMs
}
