// What the store says of jobs: the claims, beats and outcomes as they are there now, read once for
// each tag.

import { type Backend, type Stat, readAll } from './backend.ts'
import type { Beat, Claim, End, Job, OwnJob } from './claim.ts'
import { isImageError, orUndefined } from './errors.ts'
import {
  beatKey,
  cancelKey,
  claimKey,
  endKey,
  ingestId,
  jobPrefix,
  jobsPrefix,
  parseJobKey,
  sourceKey,
} from './layout.ts'
import { parseObject } from './record.ts'

/** One epoch of a job: who worked on it, and how far it says that it came. */
export interface Epoch {
  owner: string
  beat: Beat
}

export class JobFiles {
  readonly #backend: Backend
  readonly #onProblem: (error: Error) => void
  readonly #own: (name: string, uuid: string) => OwnJob | undefined
  readonly #cache = new Map<string, { tag: string; value: object }>()

  /** `own` gives the work that this process owns: it knows more of that than the store. */
  constructor(
    backend: Backend,
    onProblem: (error: Error) => void,
    own: (name: string, uuid: string) => OwnJob | undefined,
  ) {
    this.#backend = backend
    this.#onProblem = onProblem
    this.#own = own
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

  /** What `begin` was given as source; undefined when that is not there, or no more. */
  async source(name: string, uuid: string): Promise<object | undefined> {
    return await this.#object(sourceKey(name, uuid))
  }

  /** All who worked on it, the newest first; its own epoch as it really stands. */
  async epochs({ claim }: OwnJob): Promise<Epoch[]> {
    const { name, uuid } = claim
    const found: Epoch[] = []
    for (let epoch = claim.epoch; epoch > 0; epoch--) {
      const own = this.#own(name, uuid)
      if (own?.claim.epoch === epoch) {
        found.push({ owner: claim.owner, beat: own.beat() })
        continue
      }
      const [before, beat] = await Promise.all([
        this.#object(claimKey(name, uuid, epoch)),
        this.#object(beatKey(name, uuid, epoch)),
      ])
      if (before && beat) found.push({ owner: (before as Claim).owner, beat: beat as Beat })
    }
    return found
  }

  async #job(stats: Stat[]): Promise<Job | undefined> {
    let claimStat: Stat | undefined
    let epoch = 0
    let isFirstThere = false
    for (const stat of stats) {
      const file = parseJobKey(stat.key)
      if (file?.kind !== 'claim') continue
      isFirstThere ||= file.epoch === 1
      if (file.epoch < epoch) continue
      epoch = file.epoch
      claimStat = stat
    }
    // Without it the job has been removed, be it halfway.
    if (!isFirstThere) return undefined
    const claim = claimStat && ((await this.#read(claimStat)) as Claim | undefined)
    if (!claim) return undefined
    const { name, uuid } = claim
    const find = (key: string): Stat | undefined => stats.find((stat) => stat.key === key)
    const endStat = find(endKey(name, uuid))
    const beatStat = find(beatKey(name, uuid, epoch))
    const end = endStat && ((await this.#read(endStat)) as End | undefined)
    const own = this.#own(name, uuid)
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

  async #object(key: string): Promise<object | undefined> {
    const bytes = await orUndefined(this.#backend.get(key))
    return bytes && parseObject(key, (await readAll(bytes)).toString())
  }
}
