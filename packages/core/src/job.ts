// Work in flight: claims, beats and outcomes as small objects, each written by one process. A lease
// needs no clock: it has run out when the same beat has been read again and again (docs/layout.md).

import pLimit from 'p-limit'
import { type Backend, bytesOf, hasOwners } from './backend.ts'
import { type Claim, type End, type Job, type NewJob, OwnJob, type WorkState } from './claim.ts'
import { ImageError, asError, isImageError, orUndefined } from './errors.ts'
import { type Epoch, JobFiles } from './job-files.ts'
import {
  beatKey,
  bytesPrefix,
  cancelKey,
  claimKey,
  drawUuid,
  endKey,
  ingestId,
  jobPrefix,
  layoutVersion,
  markPrefix,
  sourceKey,
} from './layout.ts'
import { freshId } from './record.ts'

const beatIntervalMs = 5000
/** An owner that could not beat for so long stops: a successor may have begun. */
const beatSilenceMaxMs = 20_000
const beatsAtOnce = 32

/** The jobs of a store, and the beats of those that are this process's own. */
export class Jobs {
  readonly #backend: Backend
  readonly #owner: string
  readonly #onProblem: (error: Error) => void
  readonly #own = new Map<string, OwnJob>()
  readonly #draw: () => string
  readonly #files: JobFiles
  readonly #isPublished: (name: string, uuid: string) => Promise<boolean>
  readonly #timer: NodeJS.Timeout
  #lastSeen: readonly Job[] = []
  #ticks = 0

  /**
   * `draw` gives uuids, of which those in use are passed over; `isPublished` tells whether a record
   * goes by one.
   */
  constructor(
    backend: Backend,
    onProblem: (error: Error) => void,
    isPublished: (name: string, uuid: string) => Promise<boolean>,
    draw: () => string = drawUuid,
  ) {
    this.#backend = backend
    this.#isPublished = isPublished
    this.#owner = hasOwners(backend) ? backend.owner : freshId()
    this.#onProblem = onProblem
    this.#draw = draw
    this.#files = new JobFiles(backend, onProblem, (name, uuid) => this.own(name, uuid))
    this.#timer = setInterval(() => void this.beatAll(++this.#ticks % 2 === 0), beatIntervalMs)
    this.#timer.unref()
  }

  /**
   * Reserves a uuid by creating the first claim, and owns the work from then on. `source` is what a
   * successor needs to do it, secrets and all: it is kept beside the claim until the work ends.
   */
  async begin(work: NewJob, source?: object): Promise<OwnJob> {
    for (;;) {
      const uuid = this.#draw()
      const claim = this.#claim(work, uuid, 1, new Date().toISOString())
      try {
        await this.#put(claimKey(work.name, uuid, 1), claim, true)
      } catch (error) {
        if (isImageError(error, 'already_exists')) continue
        throw error
      }
      if (await this.#isUsed(work.name, uuid)) {
        await this.#backend.delete(claimKey(work.name, uuid, 1))
        continue
      }
      if (source === undefined) return this.#take(claim)
      // Queued from here on: a process that dies before has accepted nothing.
      const own = this.#take(claim, 'pending')
      try {
        await this.#put(sourceKey(work.name, uuid), source, true)
      } catch (error) {
        this.release(own)
        await this.remove(work.name, uuid)
        throw error
      }
      return own
    }
  }

  /**
   * Takes the work of a job whose lease is over; undefined when another process was faster, or has
   * removed the job. What was cancelled is taken as such: it can only be cleared away.
   */
  async takeOver(job: Job, state: WorkState = 'starting'): Promise<OwnJob | undefined> {
    const epoch = job.epoch + 1
    const claim = this.#claim(job.claim, job.uuid, epoch, job.claim.createdAt)
    try {
      await this.#put(claimKey(job.name, job.uuid, epoch), claim, true)
    } catch (error) {
      if (isImageError(error, 'already_exists')) return undefined
      throw error
    }
    // Who removes a job cancels it, lists its files, and deletes the first claim before all else: that
    // list may have been made before this claim.
    const now = await this.get(job.name, job.uuid)
    if (!now || !(await orUndefined(this.#backend.stat(claimKey(job.name, job.uuid, 1))))) {
      await this.#backend.delete(claimKey(job.name, job.uuid, epoch))
      return undefined
    }
    const own = this.#take(claim, state)
    if (now.cancelled) own.stop(deletedMeanwhile(job.name), 'deleted')
    return own
  }

  /**
   * The work on images as the store has it now; with a name, that on it. Own work as it really stands.
   */
  async list(name?: string): Promise<Job[]> {
    return (await this.#files.list(name)).filter((job) => job.claim.heals === undefined)
  }

  /** All work, be it on no image. */
  async all(): Promise<Job[]> {
    return (this.#lastSeen = await this.#files.list())
  }

  /** What `all` gave when it was last asked, which is done every few seconds. */
  get lastSeen(): readonly Job[] {
    return this.#lastSeen
  }

  /** One job as the store has it now; undefined when nothing claims it. */
  async get(name: string, uuid: string): Promise<Job | undefined> {
    return await this.#files.get(name, uuid)
  }

  /** What `begin` was given as source; undefined when that is not there, or no more. */
  async source(name: string, uuid: string): Promise<object | undefined> {
    return await this.#files.source(name, uuid)
  }

  /** All who worked on it, the newest first; the own epoch as it really stands. */
  async epochs(own: OwnJob): Promise<Epoch[]> {
    return await this.#files.epochs(own)
  }

  own(name: string, uuid: string): OwnJob | undefined {
    return this.#own.get(ingestId(name, uuid))
  }

  ownJobs(): OwnJob[] {
    return [...this.#own.values()]
  }

  /** Throws `aborted` when the own work was cancelled, ended or taken over. */
  async assertOwned(own: OwnJob): Promise<void> {
    const { name, uuid, epoch } = own.claim
    const job = await this.get(name, uuid)
    const isOver = !job || job.cancelled || job.end !== undefined
    if (!isOver && job.epoch === epoch) return
    own.stopped ??= isOver ? 'deleted' : 'lost'
    throw new ImageError('aborted', `${name} was deleted, or taken over, meanwhile.`)
  }

  /** Asks the owner to stop, whoever that is. */
  async cancel(name: string, uuid: string): Promise<void> {
    await this.#put(cancelKey(name, uuid), { at: new Date().toISOString() }, false)
    this.own(name, uuid)?.stop(deletedMeanwhile(name), 'deleted')
  }

  /** Writes the outcome of work that failed and lets go of it. */
  async end(own: OwnJob, end: End): Promise<void> {
    const { name, uuid } = own.claim
    this.release(own)
    await this.#put(endKey(name, uuid), end, true).catch((error: unknown) => {
      // Somebody ended it before: theirs stands.
      if (!isImageError(error, 'already_exists')) throw error
    })
    await this.#backend.delete(sourceKey(name, uuid))
    for (let { epoch } = own.claim; epoch > 0; epoch--) {
      await this.#backend.delete(beatKey(name, uuid, epoch))
    }
  }

  /** Leaves own work, with all that is known of it, to whoever finds it first. */
  async handOver(own: OwnJob): Promise<void> {
    const { name, uuid, epoch } = own.claim
    this.release(own)
    own.released = true
    own.count += 1
    await this.#put(beatKey(name, uuid, epoch), own.beat(), false)
  }

  /** Forgets that this process owns it: no beat is written from now on. */
  release(own: OwnJob): void {
    this.#own.delete(ingestId(own.claim.name, own.claim.uuid))
  }

  /** Removes all files of a job: the first claim first, so that a half removed one is no job. */
  async remove(name: string, uuid: string): Promise<void> {
    const first = claimKey(name, uuid, 1)
    const others: string[] = []
    for await (const { key } of this.#backend.list(jobPrefix(name, uuid))) {
      if (key !== first) others.push(key)
    }
    for (const key of [first, ...others]) await this.#backend.delete(key)
  }

  /**
   * Beats for every own job and looks whether it may go on; never rejects. What only waits in the
   * queue beats seldom, for it may be much; it is looked at when its turn comes.
   */
  async beatAll(withPending: boolean = true): Promise<void> {
    const limit = pLimit(beatsAtOnce)
    const beating = this.ownJobs().filter((own) => withPending || own.state !== 'pending')
    await Promise.all(beating.map((own) => limit(() => this.beat(own))))
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #claim(work: NewJob | Claim, uuid: string, epoch: number, createdAt: string): Claim {
    const { name, version, versionGiven, description, size, heals } = work
    return {
      layout: layoutVersion,
      name,
      uuid,
      epoch,
      owner: this.#owner,
      version,
      versionGiven,
      ...(size === undefined ? {} : { size }),
      description,
      ...(heals === undefined ? {} : { heals }),
      createdAt,
    }
  }

  #take(claim: Claim, state?: WorkState): OwnJob {
    const own = new OwnJob(claim, state)
    this.#own.set(ingestId(claim.name, claim.uuid), own)
    return own
  }

  /** A uuid that anything else of the store, or of somebody else, goes by. */
  async #isUsed(name: string, uuid: string): Promise<boolean> {
    const prefixes = [bytesPrefix(name, uuid), markPrefix(name, uuid), jobPrefix(name, uuid)]
    for (const prefix of prefixes) {
      for await (const stat of this.#backend.list(prefix)) {
        if (stat.key !== claimKey(name, uuid, 1)) return true
      }
    }
    // Where the same content was there already, nothing else is left of an ingest.
    return await this.#isPublished(name, uuid)
  }

  /** Says how far own work is, and looks whether it may go on; never rejects. */
  async beat(own: OwnJob): Promise<void> {
    const { name, uuid, epoch } = own.claim
    // Before the store is asked: one that hangs never answers.
    if (performance.now() - own.beatAtMs > beatSilenceMaxMs) {
      own.stop(
        new ImageError('unavailable', `The storage did not answer for ${beatSilenceMaxMs} ms.`),
      )
    }
    try {
      if (own.state !== 'pending') await this.assertOwned(own)
      // It may have been let go of while the store was asked.
      if (this.own(name, uuid) !== own) return
      own.count += 1
      await this.#put(beatKey(name, uuid, epoch), own.beat(), false)
      own.beatAtMs = performance.now()
    } catch (error) {
      if (isImageError(error, 'aborted')) return own.stop(error)
      this.#onProblem(asError(error))
    }
  }

  async #put(key: string, value: object, ifAbsent: boolean): Promise<void> {
    await this.#backend.put(key, bytesOf(`${JSON.stringify(value)}\n`), { ifAbsent })
  }
}

function deletedMeanwhile(name: string): ImageError {
  return new ImageError('aborted', `${name} was deleted meanwhile.`)
}
