// Work in flight: claims, beats and outcomes as small objects, each written by one process. A lease
// needs no clock: it has run out when the same beat has been read again and again (docs/layout.md).

import { type Backend, type Stat, bytesOf, hasOwners, readAll } from './backend.ts'
import { type Beat, type Claim, type End, type Job, type NewJob, OwnJob } from './claim.ts'
import { ImageError, asError, isImageError, orUndefined } from './errors.ts'
import {
  beatKey,
  bytesPrefix,
  cancelKey,
  claimKey,
  drawUuid,
  endKey,
  ingestId,
  jobPrefix,
  jobsPrefix,
  layoutVersion,
  markPrefix,
  parseJobKey,
} from './layout.ts'
import { freshId, parseObject } from './record.ts'

const beatIntervalMs = 5000
/** An owner that could not beat for so long stops: a successor may have begun. */
const beatSilenceMaxMs = 20_000

/** The jobs of a store, and the beats of those that are this process's own. */
export class Jobs {
  readonly #backend: Backend
  readonly #owner: string
  readonly #onProblem: (error: Error) => void
  readonly #own = new Map<string, OwnJob>()
  readonly #draw: () => string
  readonly #cache = new Map<string, { tag: string; value: object }>()
  readonly #timer: NodeJS.Timeout

  /** `draw` gives uuids, of which those in use are passed over. */
  constructor(backend: Backend, onProblem: (error: Error) => void, draw: () => string = drawUuid) {
    this.#backend = backend
    this.#owner = hasOwners(backend) ? backend.owner : freshId()
    this.#onProblem = onProblem
    this.#draw = draw
    this.#timer = setInterval(() => void this.beatAll(), beatIntervalMs)
    this.#timer.unref()
  }

  /** Reserves a uuid by creating the first claim, and owns the work from then on. */
  async begin(work: NewJob): Promise<OwnJob> {
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
      return this.#take(claim)
    }
  }

  /** Takes the work of a job whose lease is over; undefined when another process was faster. */
  async takeOver(job: Job): Promise<OwnJob | undefined> {
    const epoch = job.epoch + 1
    const claim = this.#claim(job.claim, job.uuid, epoch, job.claim.createdAt)
    try {
      await this.#put(claimKey(job.name, job.uuid, epoch), claim, true)
    } catch (error) {
      if (isImageError(error, 'already_exists')) return undefined
      throw error
    }
    return this.#take(claim)
  }

  own(name: string, uuid: string): OwnJob | undefined {
    return this.#own.get(ingestId(name, uuid))
  }

  ownJobs(): OwnJob[] {
    return [...this.#own.values()]
  }

  /** All jobs as the store has them now; with a name, those of it. Own ones as they really stand. */
  async list(name?: string): Promise<Job[]> {
    const files = new Map<string, Stat[]>()
    const keys = new Set<string>()
    for await (const stat of this.#backend.list(jobsPrefix)) {
      keys.add(stat.key)
      const file = parseJobKey(stat.key)
      if (!file || (name !== undefined && file.name !== name)) continue
      const id = ingestId(file.name, file.uuid)
      files.set(id, [...(files.get(id) ?? []), stat])
    }
    for (const key of this.#cache.keys()) if (!keys.has(key)) this.#cache.delete(key)
    const jobs = await Promise.all([...files.values()].map((stats) => this.#job(stats)))
    return jobs.filter((job) => job !== undefined)
  }

  /** One job as the store has it now; undefined when nothing claims it. */
  async get(name: string, uuid: string): Promise<Job | undefined> {
    const stats: Stat[] = []
    for await (const stat of this.#backend.list(jobPrefix(name, uuid))) stats.push(stat)
    return this.#job(stats)
  }

  /** Throws `aborted` when the own work was cancelled, ended or taken over. */
  async assertOwned(own: OwnJob): Promise<void> {
    const { name, uuid, epoch } = own.claim
    const job = await this.get(name, uuid)
    if (!job || job.cancelled || job.end || job.epoch !== epoch) {
      throw new ImageError('aborted', `${name} was deleted, or taken over, meanwhile.`)
    }
  }

  /** Asks the owner to stop, whoever that is. */
  async cancel(name: string, uuid: string): Promise<void> {
    await this.#put(cancelKey(name, uuid), { at: new Date().toISOString() }, false)
    this.own(name, uuid)?.stop(new ImageError('aborted', `${name} was deleted meanwhile.`))
  }

  /** Writes the outcome of work that failed and lets go of it. */
  async end(own: OwnJob, end: End): Promise<void> {
    const { name, uuid } = own.claim
    this.release(own)
    await this.#put(endKey(name, uuid), end, true).catch((error: unknown) => {
      // Somebody ended it before: theirs stands.
      if (!isImageError(error, 'already_exists')) throw error
    })
    await this.#backend.delete(beatKey(name, uuid, own.claim.epoch))
  }

  /** Forgets that this process owns it: no beat is written from now on. */
  release(own: OwnJob): void {
    this.#own.delete(ingestId(own.claim.name, own.claim.uuid))
  }

  /** Removes all files of a job: claims first, so that a half removed one is nobody's work. */
  async remove(name: string, uuid: string): Promise<void> {
    const claims: string[] = []
    const others: string[] = []
    for await (const stat of this.#backend.list(jobPrefix(name, uuid))) {
      const isClaim = parseJobKey(stat.key)?.kind === 'claim'
      ;(isClaim ? claims : others).push(stat.key)
    }
    for (const key of [...claims, ...others]) await this.#backend.delete(key)
  }

  /** Beats for every own job and looks whether it may go on; never rejects. */
  async beatAll(): Promise<void> {
    await Promise.all(this.ownJobs().map((own) => this.#beat(own)))
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #claim(work: NewJob | Claim, uuid: string, epoch: number, createdAt: string): Claim {
    const { name, version, versionGiven, description, size } = work
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
      createdAt,
    }
  }

  #take(claim: Claim): OwnJob {
    const own = new OwnJob(claim)
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
    return false
  }

  async #beat(own: OwnJob): Promise<void> {
    const { name, uuid, epoch } = own.claim
    // Before the store is asked: one that hangs never answers.
    if (performance.now() - own.beatAtMs > beatSilenceMaxMs) {
      own.stop(
        new ImageError('unavailable', `The storage did not answer for ${beatSilenceMaxMs} ms.`),
      )
    }
    try {
      await this.assertOwned(own)
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

  async #job(stats: Stat[]): Promise<Job | undefined> {
    let claimStat: Stat | undefined
    let epoch = 0
    for (const stat of stats) {
      const file = parseJobKey(stat.key)
      if (file?.kind !== 'claim' || file.epoch < epoch) continue
      epoch = file.epoch
      claimStat = stat
    }
    const claim = claimStat && ((await this.#read(claimStat)) as Claim | undefined)
    if (!claim) return undefined
    const { name, uuid } = claim
    const find = (key: string): Stat | undefined => stats.find((stat) => stat.key === key)
    const endStat = find(endKey(name, uuid))
    const beatStat = find(beatKey(name, uuid, epoch))
    const end = endStat && ((await this.#read(endStat)) as End | undefined)
    const own = this.own(name, uuid)
    const mine = own?.claim.epoch === epoch
    const beat = mine ? own.beat() : beatStat && ((await this.#read(beatStat)) as Beat | undefined)
    return {
      name,
      uuid,
      claim,
      epoch,
      beat: beat ?? { count: 0, state: 'starting', processedSize: 0, at: claim.createdAt },
      ...(end && endStat ? { end, endedAtNs: endStat.modifiedAt } : {}),
      cancelled: find(cancelKey(name, uuid)) !== undefined,
      mine,
    }
  }

  /** A small object of a job, from memory when its tag is known; undefined when it has gone. */
  async #read(stat: Stat): Promise<object | undefined> {
    const cached = this.#cache.get(stat.key)
    if (cached?.tag === stat.tag) return cached.value
    const bytes = await orUndefined(this.#backend.get(stat.key))
    if (!bytes) return undefined
    try {
      const value = parseObject(stat.key, (await readAll(bytes)).toString())
      this.#cache.set(stat.key, { tag: stat.tag, value })
      return value
    } catch (error) {
      if (!isImageError(error, 'data_loss')) throw error
      this.#onProblem(error)
      return undefined
    }
  }

  async #put(key: string, value: object, ifAbsent: boolean): Promise<void> {
    await this.#backend.put(key, bytesOf(`${JSON.stringify(value)}\n`), { ifAbsent })
  }
}
