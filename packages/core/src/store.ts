// ImageStore: the whole engine behind one door. It keeps no state that is not in the backend, so any
// number of processes may share one store.

import type { Backend, Bytes } from './backend.ts'
import type { OpenedBlocks } from './block-file.ts'
import { Clusters } from './clusters.ts'
import { Catalog, type CatalogChanges } from './catalog.ts'
import { asError } from './errors.ts'
import { StoreEvents, type StoreListener } from './event.ts'
import { Hasher } from './hasher.ts'
import { type Image, imageOfJob, imageOfRecord } from './image.ts'
import { Intake } from './ingest.ts'
import type { IngestRequest, Ingested } from './request.ts'
import { Jobs } from './job.ts'
import { Lookup, type OpenedImage, type Selection } from './lookup.ts'
import { writeRefusal } from './refuse.ts'
import { removeImage } from './remove.ts'
import { OthersWork } from './others.ts'
import { Pulls } from './pull/pulls.ts'
import type { Rooms } from './rooms.ts'
import { Rounds } from './rounds.ts'
import { tendScrubs } from './scrub/interval.ts'
import { type Published, publishedOf } from './published.ts'
import { Scrubs, scrubRateUsual } from './scrub/scrubs.ts'
import { type StoreOptions, noPulls } from './store-options.ts'
import { Succession } from './succession.ts'
import { checkStorage, sweep } from './sweep.ts'
import { type Usage, usageOf } from './usage.ts'
import { waitForEnd } from './wait.ts'

const tendIntervalMs = 4000
/**
 * From the begin of one look to that of the next. What others did is told, and in the list of names, so
 * much and a look later; where looks take longer than this, two of them. 5 s are promised. A look waits
 * for nothing else, above all not until the work of the dead is ended.
 */
const lookIntervalMs = 2000
const sweepIntervalMs = 600_000
/** So long after a take-over its owner has stopped, if it lives at all: what it left may go. */
const sweepDelayMs = 30_000
/** The list of names is kept young for so long after somebody asked for it. */
const listInterestMs = 60_000
const listAgeMs = 1000

export class ImageStore {
  /** Looks at everything that is in the store, and mends what can be mended. */
  readonly scrubs: Scrubs
  /** What the clusters that share this store know of it. */
  readonly clusters: Clusters
  readonly #rooms: Rooms
  readonly #lookup: Lookup
  readonly #intake: Intake
  readonly #pulls: Pulls
  readonly #succession: Succession
  readonly #hasher = new Hasher()
  readonly #events = new StoreEvents()
  readonly #others: OthersWork
  readonly #rounds: Rounds
  #listedAtMs = -Infinity
  #tending: Promise<void> | undefined
  #sweepTimer: NodeJS.Timeout | undefined
  #isClosed = false

  private constructor(backend: Backend, options: StoreOptions) {
    // What is cut off by the end of the store is no news.
    const onProblem = (error: Error): void => {
      if (!this.#isClosed) options.onProblem?.(error)
    }
    this.#rounds = new Rounds(onProblem)
    const catalog = new Catalog(backend, onProblem, (changes) => this.#tellChanges(changes))
    this.#rooms = {
      backend,
      catalog,
      jobs: new Jobs(backend, onProblem, (name, uuid) => catalog.goesBy(name, uuid)),
      onProblem,
      ...(options.at && { at: options.at }),
    }
    this.#lookup = new Lookup(this.#rooms, (images) => {
      for (const image of images) this.#events.image(image)
    })
    this.#others = new OthersWork(this.#lookup, this.#events)
    const parts = {
      rooms: this.#rooms,
      lookup: this.#lookup,
      events: this.#events,
      hasher: this.#hasher,
    }
    this.#intake = new Intake(parts)
    this.#pulls = new Pulls({ ...parts, intake: this.#intake }, options.pulls ?? noPulls)
    this.#succession = new Succession({ ...parts, pulls: this.#pulls })
    this.clusters = new Clusters(backend)
    this.scrubs = new Scrubs(
      { ...parts, sources: (options.pulls ?? noPulls).sources },
      options.scrub ?? { bytesPerSecond: scrubRateUsual },
    )
  }

  /** Ends what dead processes left, and begins to look after the store. */
  static async open(backend: Backend, options: StoreOptions = {}): Promise<ImageStore> {
    const store = new ImageStore(backend, options)
    try {
      // What is gone on with may be much: nobody waits for that.
      await store.#tend()
      await store.sweep()
    } catch (error) {
      await store.close()
      throw error
    }
    store.#rounds.every(tendIntervalMs, () => store.tend())
    store.#rounds.every(lookIntervalMs, () => store.#look())
    store.#rounds.every(sweepIntervalMs, () => store.sweep())
    if (!store.#isReadOnly) tendScrubs(store.scrubs, store.#rounds, options.scrub)
    // The first list should not have to wait; who asks before shares this look.
    store.#rooms.catalog.refresh().catch((error: unknown) => store.#rooms.onProblem(asError(error)))
    return store
  }

  /**
   * Takes an image in. What the head of a request tells is refused before `open` is called. Resolves
   * when the image is durable, checked and published; rejects with what was wrong with it.
   */
  async ingest(
    request: IngestRequest,
    open: () => Bytes | Promise<Bytes>,
    signal?: AbortSignal,
  ): Promise<Ingested> {
    return await this.#intake.ingest(request, open, signal)
  }

  /**
   * Takes on to fetch an image from its source, in its turn. Resolves when that is claimed, so that this
   * process or another will do it; `created` is false for what the newest version is already.
   */
  async pull(request: IngestRequest, options: { force?: boolean } = {}): Promise<Ingested> {
    return await this.#pulls.accept(request, options)
  }

  /** Leaves the pulls that run or wait to whoever comes next. */
  async stopPulls(): Promise<void> {
    await this.#pulls.stop()
    // What was just being taken over is left, too.
    await this.#succession.isOver()
    await this.#pulls.stop()
  }

  /** The image that is meant, in whatever state; `not_found`. */
  async get(name: string, select: Selection = {}): Promise<Image> {
    return await this.#lookup.get(name, select)
  }

  /** The image when it is ready or failed, or as it stands after `timeoutMs`. */
  async wait(
    name: string,
    select: Selection,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Image> {
    return await waitForEnd(() => this.get(name, select), timeoutMs, signal)
  }

  /** Every version of a name, newest first, failed and in-flight ones too; none is an empty list. */
  async versions(name: string): Promise<Image[]> {
    return await this.#lookup.versions(name)
  }

  /** One image a name, in name order, at most 5 s old. */
  async list(): Promise<readonly Image[]> {
    this.#listedAtMs = performance.now()
    return await this.#lookup.list()
  }

  /** All that is published and sound, at most 5 s old. */
  async published(): Promise<Published[]> {
    await this.list()
    return publishedOf(this.#rooms.catalog, this.#lookup.corruptions)
  }

  /** The bytes of a published version; `not_found`, with the state of what is not ready. */
  async open(name: string, select: Selection = {}): Promise<OpenedImage> {
    return await this.#lookup.open(name, select)
  }

  /** The block index of a published version; `not_found` also where it has none. */
  async blocks(name: string, select: Selection = {}): Promise<OpenedBlocks> {
    return await this.#lookup.blocks(name, select)
  }

  /** The bytes of one ingest, or their aligned rendition, as long as a version names them; `not_found`. */
  async openFile(name: string, uuid: string, isAligned?: boolean): Promise<OpenedImage> {
    return await this.#lookup.openFile(name, uuid, isAligned)
  }

  /** Publishes a new version that points at the bytes of an older one. */
  async rollback(name: string, version: string): Promise<Image> {
    return await this.#intake.rollback(name, version)
  }

  /** Deletes a version, or all of a name, and cancels its work in flight; `not_found` when absent. */
  async remove(name: string, select: { version?: string } = {}): Promise<void> {
    const removed = await removeImage(this.#rooms, name, select.version, (job) => {
      // Nobody waits for what is elsewhere; what goes wrong there is told.
      if (this.#pulls.isPull(job)) void this.#pulls.clearUp(job)
    })
    this.#lookup.forgetJobs()
    for (const version of removed) this.#events.deleted(name, version)
  }

  /** Work in flight, this process's and that of others. */
  async inFlight(): Promise<Image[]> {
    const jobs = await this.#lookup.jobs()
    return jobs.filter((job) => !job.end).map((job) => imageOfJob(job))
  }

  /** What of the storage is used by what, at most 5 s old. */
  async usage(): Promise<Usage> {
    await this.list()
    return await usageOf(this.#rooms, await this.#lookup.jobs())
  }

  subscribe(listener: StoreListener): () => void {
    return this.#events.subscribe(listener)
  }

  /**
   * Whether the storage works: writes, looks at and removes a small object; only looks where nothing
   * may be written.
   */
  async check(): Promise<void> {
    await checkStorage(this.#rooms.backend)
  }

  /** One round of what is done every few seconds: ends dead work, learns what others did. */
  async tend(): Promise<void> {
    this.#tending ??= this.#tend()
      .then(async () => await this.#succession.isOver())
      .finally(() => (this.#tending = undefined))
    await this.#tending
  }

  /** One round of saying how far the own work is; done every few seconds, too. */
  async beat(): Promise<void> {
    await this.#rooms.jobs.beatAll()
  }

  /** One round of removing what nobody works on any more. */
  async sweep(): Promise<void> {
    if (!this.#isReadOnly) await sweep(this.#rooms)
  }

  /** Ends the timers and threads. Work in flight must have been aborted by its signals before. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#rounds.stop()
    clearTimeout(this.#sweepTimer)
    await this.stopPulls()
    await this.scrubs.stop()
    this.#rooms.jobs.close()
    await this.#tending?.catch(() => {})
    await this.#hasher.close()
  }

  get #isReadOnly(): boolean {
    return writeRefusal(this.#rooms.backend) !== undefined
  }

  async #tend(): Promise<void> {
    const isAny = !this.#isReadOnly && (await this.#succession.look())
    if (isAny) this.#sweepSoon()
    await this.#look()
    await this.#others.tell()
  }

  #sweepSoon(): void {
    this.#sweepTimer ??= setTimeout(() => {
      this.#sweepTimer = undefined
      this.sweep().catch((error: unknown) => this.#rooms.onProblem(asError(error)))
    }, sweepDelayMs).unref()
  }

  /** Keeps the list young for who asked for it, and tells listeners what others did. */
  async #look(): Promise<void> {
    const isWatched = this.#events.isHeard || performance.now() - this.#listedAtMs < listInterestMs
    if (isWatched && this.#rooms.catalog.ageMs() > listAgeMs) {
      await this.#rooms.catalog.refresh()
      await this.#lookup.corruptions.look()
    }
  }

  #tellChanges({ added, removed }: CatalogChanges): void {
    if (!this.#events.isHeard) return
    for (const record of added) this.#events.image(imageOfRecord(record))
    for (const { name, version } of removed) this.#events.deleted(name, version)
  }
}
