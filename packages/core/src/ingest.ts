// The way in: from a request's head to a published version. Every source of bytes comes through here,
// and what fails leaves nothing but, where a client should see it, a failed job.

import { setTimeout as delay } from 'node:timers/promises'
import type { Bytes } from './backend.ts'
import { removeBytes, stands } from './bytes.ts'
import type { OwnJob } from './claim.ts'
import { ImageError, asError, isImageError } from './errors.ts'
import type { StoreEvents } from './event.ts'
import type { Hasher } from './hasher.ts'
import { type Image, imageOfJob, imageOfRecord, nextVersion } from './image.ts'
import { joinCopies, joinLabels } from './labels.ts'
import { bytesKey, layoutVersion } from './layout.ts'
import type { Lookup } from './lookup.ts'
import { endOf } from './outcome.ts'
import type { Told } from './pull/source.ts'
import { publish } from './publish.ts'
import { leavesTrace, receive } from './receive.ts'
import { type Facts, type VersionRecord, freshId } from './record.ts'
import { SameBytes, assertFree, assertRoom } from './refuse.ts'
import { assertStands, assertWritable, refuse } from './refuse.ts'
import type { IngestRequest, Ingested } from './request.ts'
import { restore } from './restore.ts'
import type { Rooms } from './rooms.ts'
import { dropSpare, keysFor } from './spare.ts'
import { fail } from './sweep.ts'
import { discardUnfinished } from './unfinished.ts'

const publishTriesMax = 100
const rollbackTriesMax = 25
const rollbackDelayMs = 200
/** After so long an answer that stays unclear is given up. */
const rollbackTimeoutMs = 20_000

export class Intake {
  readonly #rooms: Rooms
  readonly #lookup: Lookup
  readonly #events: StoreEvents
  readonly #hasher: Hasher

  constructor(options: { rooms: Rooms; lookup: Lookup; events: StoreEvents; hasher: Hasher }) {
    this.#rooms = options.rooms
    this.#lookup = options.lookup
    this.#events = options.events
    this.#hasher = options.hasher
  }

  /**
   * Takes an image in. What the head of a request tells is refused before `open` is called. Resolves
   * when the image is durable, checked and published; rejects with what was wrong with it.
   */
  async ingest(
    request: IngestRequest,
    open: () => Bytes | Promise<Bytes>,
    signal: AbortSignal = new AbortController().signal,
  ): Promise<Ingested> {
    try {
      const { records, unserved } = await refuse(this.#rooms, request)
      await assertRoom(this.#rooms, request.size)
      if (unserved) {
        const restoring = { request, unserved, open, signal }
        const image = await restore(this.#rooms, this.#hasher, restoring)
        this.#events.image(image)
        return { image, created: false }
      }
      const own = await this.begin(request, records)
      const record = await this.#complete(request, own, open, signal)
      return { image: imageOfRecord(record), created: true }
    } catch (error) {
      if (!(error instanceof SameBytes)) throw error
      await assertStands(this.#rooms, error.record)
      return { image: imageOfRecord(error.record), created: false }
    }
  }

  async #complete(
    request: IngestRequest,
    own: OwnJob,
    open: () => Bytes | Promise<Bytes>,
    requestSignal: AbortSignal,
  ): Promise<VersionRecord> {
    const signal = AbortSignal.any([requestSignal, own.signal])
    try {
      await this.#rooms.at?.('claimed')
      const facts = await receive(this.#rooms.backend, this.#hasher, {
        own,
        bytes: await open(),
        sizeMax: request.sizeMax,
        signal,
        settle: (digests) => assertFree(this.#rooms, request, digests),
        onProgress: () => this.#events.progress(own),
        ...(request.decompress && { decompress: request.decompress }),
        ...(this.#rooms.at && { at: this.#rooms.at }),
      })
      const record = await this.publish(request, own, facts, signal)
      await this.finish(own, record)
      return record
    } catch (error) {
      await this.drop(own, error)
      throw error
    }
  }

  /** Publishes a new version that points at the bytes of an older one. */
  async rollback(name: string, version: string): Promise<Image> {
    assertWritable(this.#rooms.backend)
    for (let tries = 1; ; tries++) {
      // Also finds out whether the bytes are there.
      await this.#lookup.open(name, { version })
      const records = await this.#rooms.catalog.fresh(name)
      const old = records.find((record) => record.version === version)
      if (!old) continue
      // Somebody looks whether the bytes may go, and takes the mark away when a record names them.
      if (tries < rollbackTriesMax && !(await stands(this.#rooms.backend, old))) {
        await delay(rollbackDelayMs)
        continue
      }
      const createdAt = new Date().toISOString()
      try {
        const record = await this.#publishNext(
          { ...old, layout: layoutVersion, createdAt, rollbackOf: version },
          undefined,
          AbortSignal.timeout(rollbackTimeoutMs),
        )
        this.#events.image(imageOfRecord(record))
        return imageOfRecord(record)
      } catch (error) {
        if (!isImageError(error, 'aborted') || tries >= rollbackTriesMax) throw error
        await delay(rollbackDelayMs)
      }
    }
  }

  /** Claims the work, whose `source` is kept beside the claim where it has one (Jobs.begin). */
  async begin(
    request: IngestRequest,
    records: readonly VersionRecord[],
    source?: object,
  ): Promise<OwnJob> {
    const { name, version, size, description } = request
    // Those that must be new race for the first label, so that one of them wins.
    const labels = records.map((record) => record.version)
    const next = async (): Promise<string> =>
      request.mustBeNew ? nextVersion(labels) : await this.#nextVersion(name, labels)
    const work = {
      name,
      version: version ?? (await next()),
      versionGiven: version !== undefined,
      description,
      ...(size === undefined ? {} : { size }),
    }
    const own = await this.#rooms.jobs.begin(work, source)
    this.#lookup.forgetJobs()
    this.#events.image(imageOfJob(own.job()))
    return own
  }

  /** Takes back a claim that nobody was told of. */
  async withdraw(own: OwnJob): Promise<void> {
    const { name, uuid } = own.claim
    this.#rooms.jobs.release(own)
    await this.#rooms.jobs.remove(name, uuid)
    this.#lookup.forgetJobs()
    await this.#lookup.tellOutcome(this.#events, imageOfJob(own.job()))
  }

  /** Publishes what is stored and checked. */
  async publish(
    request: IngestRequest,
    own: OwnJob,
    facts: Facts,
    signal: AbortSignal,
    told: Told = {},
  ): Promise<VersionRecord> {
    const { name, uuid, version, description, createdAt } = own.claim
    const keys = await keysFor(this.#rooms, bytesKey(name, uuid), facts)
    // A courtesy to whoever took over or cancelled; the marks are the fence.
    await this.#rooms.jobs.assertOwned(own)
    return await this.#publishNext(
      {
        ...description,
        ...(told.parameters && { parameters: told.parameters, asked: description.parameters }),
        labels: joinLabels(description.labels, told.labels ?? {}),
        ...joinCopies(description, told.copies),
        ...facts,
        warnings: [...facts.warnings, ...(told.warnings ?? [])],
        layout: layoutVersion,
        id: freshId(),
        name,
        version,
        uuid,
        sequence: 0,
        keys,
        createdAt,
        publishedAt: createdAt,
      },
      request,
      signal,
    )
  }

  /** Publishes under the record's version if that was given; else under it or the next free one. */
  async #publishNext(
    base: VersionRecord,
    request: IngestRequest | undefined,
    signal: AbortSignal,
  ): Promise<VersionRecord> {
    const given = request?.version
    const tried: string[] = []
    for (let tries = 0; tries < publishTriesMax; tries++) {
      const records = request
        ? await assertFree(this.#rooms, request, base.checksums)
        : await this.#rooms.catalog.fresh(base.name)
      const labels = [...records.map((record) => record.version), ...tried]
      const isFree = request !== undefined && !labels.includes(base.version)
      const version = given ?? (isFree ? base.version : await this.#nextVersion(base.name, labels))
      const sequence = Math.max(0, ...records.map((record) => record.sequence)) + 1
      const publishedAt = new Date().toISOString()
      const record = { ...base, id: freshId(), version, sequence, publishedAt }
      try {
        await publish(this.#rooms, record, signal)
        this.#rooms.catalog.add(record)
        return record
      } catch (error) {
        if (!isImageError(error, 'already_exists')) throw error
        // The next round tells with which bytes, unless whoever took it has withdrawn again.
        if (given !== undefined && tries > 0) throw error
        tried.push(version)
      }
    }
    throw new ImageError('aborted', `Too many uploads of ${base.name} race; try again.`)
  }

  /** Also past the labels of work in flight or failed: those would be taken for this one's. */
  async #nextVersion(name: string, labels: readonly string[]): Promise<string> {
    const jobs = await this.#rooms.jobs.list(name)
    return nextVersion([...labels, ...jobs.map((job) => job.claim.version)])
  }

  /** It is published: what is left of the work goes. A failure here takes nothing back. */
  async finish(own: OwnJob, record: VersionRecord): Promise<void> {
    const { jobs, onProblem } = this.#rooms
    const { name, uuid } = own.claim
    try {
      // While the job is there: should this process stop, whoever ends the job drops the spare.
      await dropSpare(this.#rooms, record)
      jobs.release(own)
      await jobs.remove(name, uuid)
      for (const job of await jobs.list(name)) {
        if (job.end && job.claim.version === record.version) await jobs.remove(name, job.uuid)
      }
      await this.#discardRests(own)
    } catch (error) {
      onProblem(asError(error))
      // What is not done is left to the end of the lease.
      jobs.release(own)
    }
    this.#lookup.forgetJobs()
    this.#events.image(imageOfRecord(record))
  }

  /**
   * It failed: nothing is left, or a failed job where the client should see one; of a pull, which nobody
   * waits for, that is always so. Never rejects.
   */
  async drop(own: OwnJob, error: unknown, options: { isPull?: boolean } = {}): Promise<void> {
    const { isPull = false } = options
    const { jobs, onProblem } = this.#rooms
    const { name, uuid, epoch } = own.claim
    try {
      const job = await jobs.get(name, uuid)
      // Who has lost its epoch leaves everything to its successor.
      if (job && job.epoch > epoch) return
      // A pull that lost touch with its storage is gone on with, by whoever sees its lease run out.
      if (isPull && own.stopped === 'lost') return
      // A record that names them was created after all, though nobody could say so.
      const kept = own.bytesGiven ? await removeBytes(this.#rooms, [{ name, uuid }]) : []
      const isSilent = !isPull && (error instanceof SameBytes || !leavesTrace(error))
      const isDeleted = !job || job.cancelled || own.stopped === 'deleted'
      if (isDeleted || kept.length > 0 || isSilent) {
        jobs.release(own)
        await jobs.remove(name, uuid)
      } else await fail(this.#rooms, own, endOf(error))
      await this.#discardRests(own)
    } catch (problem) {
      onProblem(asError(problem))
    } finally {
      // Where even this failed the lease runs out, and whoever sees that ends it.
      jobs.release(own)
      this.#lookup.forgetJobs()
      await this.#lookup.tellOutcome(this.#events, imageOfJob(own.job()))
    }
  }

  /** The work has ended: what those left who had it before is nobody's, and may be large. */
  async #discardRests({ claim }: OwnJob): Promise<void> {
    if (claim.epoch > 1) await discardUnfinished(this.#rooms.backend, claim)
  }
}
