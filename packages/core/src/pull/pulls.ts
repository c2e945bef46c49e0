// The pulls of this process: requests become claims that wait for their turn, and work whose owner has
// died or let go is gone on with.

import pLimit from 'p-limit'
import type { Digests } from '../checksum.ts'
import type { Job, OwnJob } from '../claim.ts'
import { ImageError, asError } from '../errors.ts'
import type { StoreEvents } from '../event.ts'
import type { Hasher } from '../hasher.ts'
import { type Image, imageOfJob, imageOfRecord } from '../image.ts'
import type { Intake } from '../ingest.ts'
import type { IngestRequest, Ingested } from '../request.ts'
import type { Lookup } from '../lookup.ts'
import type { Parameters } from '../record.ts'
import { assertFree, assertRoom, assertStands, existsAlready, refuse } from '../refuse.ts'
import { SameBytes, refuseTaken } from '../refuse.ts'
import type { Rooms } from '../rooms.ts'
import { lost, stopping } from './stopped.ts'
import { type Clearance, clearUp, clearUpFailed, clearUpJob } from './clear-up.ts'
import { type PullObserver, silent } from './observer.ts'
import { pull } from './run.ts'
import { isSameSource, sourceIdOf } from './same.ts'
import type { Source, Sources } from './source.ts'

/** So many may wait for their turn. */
const queueMax = 1000

export interface PullOptions {
  sources: Sources
  /** How many run at a time. */
  atOnce: number
  /** The most bytes that are taken of a source. */
  sizeMax: number
  /** How long to wait after an attempt that came to nothing; doubled each time. */
  attemptDelayMs?: number
  /** Told when a pull of this process begins; what it returns is told how that ended. */
  onPull?: (image: Image) => PullObserver
}

interface Begin {
  source: Source
  /** With their secrets. */
  parameters: Parameters
  force?: boolean
}

const nothing = (): void => {}
export class Pulls {
  readonly #rooms: Rooms
  readonly #lookup: Lookup
  readonly #intake: Intake
  readonly #events: StoreEvents
  readonly #hasher: Hasher
  readonly #options: PullOptions
  readonly #limit: ReturnType<typeof pLimit>
  readonly #running = new Set<Promise<void>>()
  /** The last request of each name that is being taken on. */
  readonly #turns = new Map<string, Promise<void>>()
  #isStopping = false

  constructor(
    parts: { rooms: Rooms; lookup: Lookup; intake: Intake; events: StoreEvents; hasher: Hasher },
    options: PullOptions,
  ) {
    this.#rooms = parts.rooms
    this.#lookup = parts.lookup
    this.#intake = parts.intake
    this.#events = parts.events
    this.#hasher = parts.hasher
    this.#options = options
    this.#limit = pLimit(options.atOnce)
  }

  /**
   * Takes a request on: it is claimed, durably, when this resolves. One that equals the newest version,
   * ready or in flight, is that, unless `force`.
   */
  async accept(request: IngestRequest, options: { force?: boolean } = {}): Promise<Ingested> {
    const { sourceType, parameters } = request.description
    const source = this.#sourceOf(sourceType)
    await source.check(parameters)
    const shown = source.shown(parameters)
    const asked = { ...request, description: { ...request.description, parameters: shown } }
    // Of requests at the same time the second must see what the first has made.
    return await this.#inTurn(request.name, async () => {
      try {
        return await this.#begin(asked, { source, parameters, ...options })
      } catch (error) {
        if (!(error instanceof SameBytes)) throw error
        await assertStands(this.#rooms, error.record)
        return { image: imageOfRecord(error.record), created: false }
      }
    })
  }

  async #begin(
    asked: IngestRequest,
    { source, parameters, force = false }: Begin,
  ): Promise<Ingested> {
    const { name, description, mustBeNew = false } = asked
    const isRetry = !force && !mustBeNew
    const same = isRetry && (await this.#same(asked, parameters))
    if (same) return { image: same, created: false }
    const { records } = await refuse(this.#rooms, asked)
    await refuseTaken(this.#rooms, asked, records)
    await assertRoom(this.#rooms)
    this.#assertQueue()
    const sourceId = await sourceIdOf(parameters, description.parameters)
    const described = { ...description, ...(sourceId !== undefined && { sourceId }) }
    const own = await this.#intake.begin({ ...asked, description: described }, records, {
      parameters,
    })
    // Another server may have taken the like on at the same moment: one of the two gives way.
    const first = isRetry || mustBeNew ? await this.#precedes(own, asked, parameters) : undefined
    if (first) {
      await this.#intake.withdraw(own)
      if (mustBeNew) throw existsAlready(name)
      return { image: imageOfJob(first), created: false }
    }
    this.#enqueue(own, source, parameters)
    return { image: imageOfJob(own.job()), created: true }
  }

  /** The work of another server that this must give way to; those who see each other agree on it. */
  async #precedes(
    { claim }: OwnJob,
    { description, mustBeNew = false, version }: IngestRequest,
    parameters: Parameters,
  ): Promise<Job | undefined> {
    for (const job of await this.#rooms.jobs.list(claim.name)) {
      const isOther = !job.mine && !job.end && !job.cancelled && job.uuid < claim.uuid
      if (!isOther) continue
      if (mustBeNew) return job
      const isMeant = version === undefined || version === job.claim.version
      const isSame = await isSameSource(description, parameters, job.claim.description)
      if (isMeant && isSame) return job
    }
    return undefined
  }

  /** One after the other, of each name. */
  async #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(name)
    const turn = (before ?? Promise.resolve()).then(work)
    const over = turn.then(nothing, nothing)
    this.#turns.set(name, over)
    try {
      return await turn
    } finally {
      if (this.#turns.get(name) === over) this.#turns.delete(name)
    }
  }

  /** Whether such work can be gone on with at all: that of a client who sends can not. */
  isPull(job: Job): boolean {
    const { description, heals } = job.claim
    return description.sourceType !== 'upload' && heals === undefined
  }

  /** Goes on with the work of another, whose lease is over; false when another process was faster. */
  async takeOver(job: Job): Promise<boolean> {
    if (this.#isStopping) return false
    const { jobs } = this.#rooms
    const own = await jobs.takeOver(job, 'pending')
    if (!own) return false
    try {
      const stored = await jobs.source(job.name, job.uuid)
      const source = this.#options.sources[job.claim.description.sourceType]
      if (!stored || !source) throw lost(job)
      const { parameters } = stored as { parameters: Parameters }
      if (this.#isStopping) own.stop(stopping(), 'stopping')
      this.#enqueue(own, source, parameters)
    } catch (error) {
      await this.#intake.drop(own, error, { isPull: true })
    }
    return true
  }

  /** Whether there is more to do than to end it: it is to be gone on with, or something elsewhere to go. */
  mayTakeLong(job: Job): boolean {
    const source = this.#options.sources[job.claim.description.sourceType]
    return this.isPull(job) && (!job.cancelled || source?.clearUp !== undefined)
  }

  /** What was made elsewhere for a pull goes: it is over, and there is nobody else to do it. */
  async clearUp(job: Job): Promise<void> {
    await clearUpJob(this.#rooms, this.#options.sources, job)
  }

  /** Stops what runs and what waits, and leaves it to whoever comes next: this process, started anew. */
  async stop(): Promise<void> {
    this.#isStopping = true
    for (const own of this.#rooms.jobs.ownJobs()) {
      if (own.claim.description.sourceType !== 'upload') own.stop(stopping(), 'stopping')
    }
    await Promise.all(this.#running)
  }

  #sourceOf(sourceType: string): Source {
    const source = this.#options.sources[sourceType]
    if (source) return source
    const known = Object.keys(this.#options.sources).join(', ')
    throw new ImageError(
      'invalid_argument',
      `The source type ${JSON.stringify(sourceType)} is not available here; ${known} are.`,
    )
  }

  #assertQueue(): void {
    if (!this.#isStopping && this.#limit.pendingCount < queueMax) return
    throw new ImageError(
      'resource_exhausted',
      this.#isStopping
        ? 'The server is stopping. Try again.'
        : `${queueMax} jobs wait already. Try again when some are done.`,
      { reason: 'too_many_requests' },
    )
  }

  /** The newest version, ready or in flight, if the request asks for just that. */
  async #same(
    { name, version, description }: IngestRequest,
    parameters: Parameters,
  ): Promise<Image | undefined> {
    const newest = await this.#lookup.newest(name)
    if (!newest || (version !== undefined && version !== newest.image.version)) return undefined
    const isSame = await isSameSource(description, parameters, newest.description)
    return isSame ? newest.image : undefined
  }

  #enqueue(own: OwnJob, source: Source, parameters: Parameters): void {
    const running = this.#limit(() => this.#run(own, source, parameters)).catch((error: unknown) =>
      this.#rooms.onProblem(asError(error)),
    )
    this.#running.add(running)
    void running.then(() => this.#running.delete(running))
  }

  async #run(own: OwnJob, source: Source, parameters: Parameters): Promise<void> {
    const { jobs } = this.#rooms
    const { signal, claim } = own
    const { name, version, versionGiven, description } = claim
    const { sizeMax, attemptDelayMs, onPull } = this.#options
    const request: IngestRequest = {
      name,
      description,
      sizeMax,
      ...(versionGiven && { version }),
    }
    const observer = onPull?.(imageOfJob(own.job())) ?? silent
    try {
      signal.throwIfAborted()
      await jobs.assertOwned(own)
      await this.#rooms.at?.('claimed')
      own.state = 'starting'
      this.#lookup.forgetJobs()
      this.#events.image(imageOfJob(own.job()))
      const settle = (digests: Digests): Promise<unknown> =>
        assertFree(this.#rooms, request, digests)
      let counted = 0
      const onProgress = (): void => {
        // An attempt that begins anew counts its bytes anew.
        observer.bytes(Math.max(0, own.processedSize - counted))
        counted = own.processedSize
        this.#events.progress(own)
      }
      const parts = { rooms: this.#rooms, hasher: this.#hasher, own, source, parameters }
      const { facts, told } = await pull({
        ...parts,
        sizeMax,
        ...(attemptDelayMs !== undefined && { attemptDelayMs }),
        signal,
        settle,
        onProgress,
        onTrouble: (error) => observer.trouble(error),
      })
      const record = await this.#intake.publish(request, own, facts, signal, told)
      // While the job is there: should this process stop, whoever ends the job does it.
      await clearUp({ source, parameters, id: claim.uuid, signal, onTrouble: observer.trouble })
      await this.#intake.finish(own, record)
      observer.ready(imageOfRecord(record))
    } catch (error) {
      await this.#leave(own, error, { source, parameters, onTrouble: observer.trouble })
      if (own.stopped === undefined || own.stopped === 'deleted') observer.failed(asError(error))
      else observer.left()
    }
  }

  async #leave(own: OwnJob, error: unknown, clearance: Clearance): Promise<void> {
    const { jobs, onProblem } = this.#rooms
    if (own.stopped === 'stopping') {
      await jobs.handOver(own).catch((problem: unknown) => onProblem(asError(problem)))
    } else {
      await clearUpFailed(this.#rooms, own, clearance)
      await this.#intake.drop(own, error, { isPull: true })
    }
  }
}
