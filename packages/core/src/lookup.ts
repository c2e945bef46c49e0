// Finding images: which record or job a name, a version or a uuid means now. What is asked of one
// name is asked of the store; the list of all names comes from memory and is at most 5 s old.

import { alignedOf } from './aligned.ts'
import { type Backend, type Bytes, type GetOptions, type PresignOptions } from './backend.ts'
import { type Range, hasPresign } from './backend.ts'
import { isThere } from './bytes.ts'
import { type OpenedBlocks, openBlocks } from './block-file.ts'
import type { Catalog } from './catalog.ts'
import type { Job } from './claim.ts'
import { ImageError, isImageError } from './errors.ts'
import type { StoreEvents } from './event.ts'
import { type Image, imageOfJob, imageOfRecord, listedImage, notReady } from './image.ts'
import type { Jobs } from './job.ts'
import { assertName, assertVersion } from './layout.ts'
import { compareText, newestFirst, newestJobs } from './order.ts'
import type { Description, VersionRecord } from './record.ts'
import type { Rooms } from './rooms.ts'
import { Corruptions, type Found, type Sound, findBytes, imageOfFound } from './sound.ts'

/** Which image of a name is meant; nothing given means the newest. */
export interface Selection {
  version?: string
  /** One ingest: in flight, failed or ready. */
  uuid?: string
  /** Only a published one will do. */
  state?: 'ready'
}

/** Published bytes, ready to be read. */
export interface OpenedImage {
  image: Image
  /** For Last-Modified: when it was published; of a file, when its bytes were written, to the second. */
  modifiedAt: Date
  /** Exactly the asked bytes, or it throws. Each chunk is lent: valid until the next is asked for. */
  read(range?: Range, signal?: AbortSignal): Promise<Bytes>
  /** A link to the same bytes at the store itself; absent where the store can not give one. */
  presign?(options: PresignOptions): Promise<string>
}

const listAgeMaxMs = 5000
const jobsAgeMaxMs = 2000

export class Lookup {
  readonly #backend: Backend
  readonly #catalog: Catalog
  readonly #jobs: Jobs
  readonly corruptions: Corruptions
  #jobsSnapshot: { atMs: number; jobs: Job[] } | undefined
  #jobsRevision = 0
  #list: { revision: string; jobs: Job[]; images: Image[] } | undefined

  /** `onDoubt` is told of the images whose bytes were found corrupt, or have been replaced, meanwhile. */
  constructor(rooms: Rooms, onDoubt: (images: Image[]) => void = () => {}) {
    this.#backend = rooms.backend
    this.#catalog = rooms.catalog
    this.#jobs = rooms.jobs
    this.corruptions = new Corruptions(rooms.backend, async (ids) =>
      onDoubt(await this.#concerned(ids)),
    )
  }

  async get(name: string, select: Selection): Promise<Image> {
    let found = await this.#record(name, select)
    const job = found ? undefined : await this.#job(name, select)
    // Work that was published between the two is a job no more.
    if (!job) found ??= await this.#record(name, select)
    if (found?.corruption && select.state === 'ready') throw notReady(imageOfFound(found))
    if (found) return imageOfFound(found)
    if (!job) throw notFound(name, select)
    if (select.state === 'ready') throw notReady(imageOfJob(job))
    return imageOfJob(job)
  }

  /** All versions of a name, newest first: work in flight, then what is published or has failed. */
  async versions(name: string): Promise<Image[]> {
    assertName(name)
    // In this order: what is published meanwhile is in one of the two.
    const jobs = await this.#jobs.list(name)
    const records = await this.#catalog.fresh(name)
    const published = new Set(records.map((record) => record.uuid))
    const visible = jobs.filter((job) => !job.cancelled && !published.has(job.uuid))
    await this.corruptions.look()
    const shown = await Promise.all(records.map((record) => this.#shown(record)))
    return newestFirst(
      visible,
      shown.filter((image) => image !== undefined),
    )
  }

  /** The newest work in flight of a name, else its newest ready version, with what was asked for. */
  async newest(name: string): Promise<{ image: Image; description: Description } | undefined> {
    const inFlight = (await this.#jobs.list(name)).filter((job) => !job.cancelled && !job.end)
    const [job] = newestJobs(inFlight)
    if (job) return { image: imageOfJob(job), description: job.claim.description }
    const found = await this.#record(name, {})
    // What is corrupt is no answer to who asks for it anew.
    if (!found || found.corruption) return undefined
    return { image: imageOfRecord(found.record), description: found.record }
  }

  async open(name: string, select: Selection): Promise<OpenedImage> {
    const found = await this.#published(name, select)
    return this.#opened(found, new Date(found.record.publishedAt))
  }

  /** The block index of those bytes. */
  async blocks(name: string, select: Selection): Promise<OpenedBlocks> {
    const { record, bytes } = await this.#published(name, select)
    return await openBlocks(this.#backend, record, bytes.key)
  }

  /**
   * The bytes of one ingest, or their aligned rendition, as long as any version names them: whichever it
   * is, they look the same.
   */
  async openFile(name: string, uuid: string, isAligned: boolean = false): Promise<OpenedImage> {
    const found = await this.#record(name, { uuid })
    if (!found) throw notFound(name, { uuid })
    if (found.corruption) throw notReady(imageOfFound(found))
    const seconds = Number(found.bytes.modifiedAt / 1_000_000_000n)
    const opened = this.#opened(found, new Date(seconds * 1000))
    return isAligned ? alignedOf(opened, found.record.aligned) : opened
  }

  /** What a get by each name gives, in name order. */
  async list(): Promise<Image[]> {
    if (this.#catalog.ageMs() > listAgeMaxMs) await this.#catalog.refresh()
    if (this.corruptions.ageMs() > listAgeMaxMs) await this.corruptions.look()
    const jobs = await this.jobs()
    const revision = `${this.#catalog.revision} ${this.corruptions.revision}`
    if (this.#list?.revision === revision && this.#list.jobs === jobs) return this.#list.images
    const images = await Promise.all(this.#catalog.names().map((name) => this.#newestOf(name)))
    const unpublished = newestJobs(jobs).filter((job) => !this.#catalog.newest(job.name))
    const all = [
      ...images.filter((image) => image !== undefined),
      ...unpublished.map((job) => imageOfJob(job)),
    ]
    if (unpublished.length > 0) all.sort((a, b) => compareText(a.name, b.name))
    this.#list = { revision, jobs, images: all }
    return all
  }

  /** The images that name any of these bytes, as they are now. */
  async #concerned(ids: ReadonlySet<string>): Promise<Image[]> {
    const records = [...this.#catalog.records()].filter((record) =>
      this.corruptions.concerns(record, ids),
    )
    const shown = await Promise.all(records.map((record) => this.#shown(record, true)))
    return shown.filter((image) => image !== undefined)
  }

  /** As it is ready, or has failed since; undefined when it was never acknowledged. */
  async #shown(record: VersionRecord, isTold = false): Promise<Image | undefined> {
    const [key = ''] = record.keys
    const isDoubtful = isTold || this.corruptions.concerns(record) || this.#catalog.isLost(record)
    if (!isDoubtful && (await isThere(this.#backend, key))) return imageOfRecord(record)
    const found = await this.#find(record)
    return found && imageOfFound(found)
  }

  /** The bytes of a record, and for the list what is learned of them. */
  async #find(record: VersionRecord): Promise<Found | undefined> {
    const found = await findBytes(this.#backend, record)
    this.#catalog.note(record, found?.corruption !== undefined && found.isLost)
    return found
  }

  /** What the list says of a name: for nearly all of them, what is in memory. */
  async #newestOf(name: string): Promise<Image | undefined> {
    const record = this.#catalog.newest(name)
    if (!record) return undefined
    const isDoubtful = this.corruptions.concerns(record) || this.#catalog.isLost(record)
    if (!isDoubtful) return listedImage(record)
    const found = await this.#record(name, {})
    return found && imageOfFound(found)
  }

  /** Jobs that are not cancelled, at most 2 s old. */
  async jobs(): Promise<Job[]> {
    const snapshot = this.#jobsSnapshot
    if (snapshot && performance.now() - snapshot.atMs < jobsAgeMaxMs) return snapshot.jobs
    const atMs = performance.now()
    const revision = this.#jobsRevision
    const jobs = (await this.#jobs.list()).filter((job) => !job.cancelled)
    // An empty list stays the same list, so that what was made of it is kept.
    const same = jobs.length === 0 && snapshot?.jobs.length === 0
    const found = { atMs, jobs: same ? snapshot.jobs : jobs }
    // Who changed a job meanwhile must see that at once.
    if (revision === this.#jobsRevision) this.#jobsSnapshot = found
    return found.jobs
  }

  /** This process has changed a job: the next look asks the store. */
  forgetJobs(): void {
    this.#jobsSnapshot = undefined
    this.#jobsRevision += 1
  }

  /** Tells what has become of work that was told of, and is over: now ready, failed, or gone. */
  async tellOutcome(events: StoreEvents, { name, version, uuid }: Image): Promise<void> {
    if (!events.isHeard) return
    try {
      for (const select of [{ uuid }, { version }]) {
        const found = await this.#record(name, select)
        const record = found?.record
        // Who was told that it is ready must be told when it is deleted, however soon that is.
        if (record) this.#catalog.add(record)
        const job = record ? undefined : await this.#job(name, select)
        if (found) events.image(imageOfFound(found))
        else if (job) events.image(imageOfJob(job))
        if (record || job) return
      }
      events.deleted(name, version)
    } catch (error) {
      // What can not be known now is not told: the listener's next look finds it.
      if (!isImageError(error)) throw error
    }
  }

  /** The published version that is meant, and whose bytes are there. */
  async #record(name: string, select: Selection): Promise<Found | undefined> {
    assertName(name)
    if (select.version !== undefined) assertVersion(select.version)
    const records = (await this.#catalog.fresh(name)).filter(
      (record) =>
        (select.version === undefined || record.version === select.version) &&
        (select.uuid === undefined || record.uuid === select.uuid),
    )
    // One ingest is the version that it brought, as long as that stands; else what points at it.
    if (select.uuid !== undefined) {
      records.sort((a, b) => Number('rollbackOf' in a) - Number('rollbackOf' in b))
    }
    let corrupt: Found | undefined
    for (const record of records) {
      // A record without bytes was never acknowledged.
      const found = await this.#find(record)
      const isMeant = select.version !== undefined || select.uuid !== undefined
      if (found && (isMeant || !found.corruption)) return found
      corrupt ??= found
    }
    return corrupt
  }

  async #published(name: string, select: Selection): Promise<Sound> {
    const found = await this.#record(name, select)
    if (found?.corruption) throw notReady(imageOfFound(found))
    if (found) return found
    const job = await this.#job(name, select)
    if (!job) throw notFound(name, select)
    throw notReady(imageOfJob(job))
  }

  async #job(name: string, select: Selection): Promise<Job | undefined> {
    const jobs = (await this.#jobs.list(name)).filter(
      (job) =>
        !job.cancelled &&
        (select.version === undefined || job.claim.version === select.version) &&
        (select.uuid === undefined || job.uuid === select.uuid),
    )
    return newestJobs(jobs)[0]
  }

  #opened(found: Sound, modifiedAt: Date): OpenedImage {
    const backend = this.#backend
    const { record, bytes } = found
    return {
      image: imageOfRecord(record),
      modifiedAt,
      read: (range, signal) =>
        this.#read(found, { lend: true, ...(range && { range }), ...(signal && { signal }) }),
      ...(hasPresign(backend) && { presign: (options) => backend.presign(bytes.key, options) }),
    }
  }

  async #read({ record, bytes }: Sound, options: GetOptions): Promise<Bytes> {
    try {
      return await this.#backend.get(bytes.key, options)
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
      // Who removes the shared bytes was faster than this reader: the spare is there then.
      const other = await findBytes(this.#backend, record)
      if (!other || other.corruption || other.bytes.key === bytes.key) throw error
      return await this.#backend.get(other.bytes.key, options)
    }
  }
}

function notFound(name: string, select: Selection): ImageError {
  const { version, uuid } = select
  const what = [version && `version ${version}`, uuid && `uuid ${uuid}`].filter(Boolean)
  const of = what.length > 0 ? ` with ${what.join(' and ')}` : ''
  return new ImageError('not_found', `There is no image ${name}${of}.`)
}
