// Work whose owner is dead, silent, or has let go: what can only be ended is ended, and pulls are gone
// on with.

import pLimit from 'p-limit'
import { hasOwners } from './backend.ts'
import type { Job } from './claim.ts'
import { asError } from './errors.ts'
import type { StoreEvents } from './event.ts'
import { imageOfJob } from './image.ts'
import { Leases } from './lease.ts'
import type { Lookup } from './lookup.ts'
import type { Pulls } from './pull/pulls.ts'
import type { Rooms } from './rooms.ts'
import { settle } from './sweep.ts'

const pullsAtOnce = 8

interface Parts {
  rooms: Rooms
  lookup: Lookup
  events: StoreEvents
  pulls: Pulls
}

export class Succession {
  readonly #parts: Parts
  readonly #leases: Leases
  #takingOver: Promise<void> | undefined

  constructor(parts: Parts) {
    const { backend } = parts.rooms
    this.#parts = parts
    this.#leases = new Leases(hasOwners(backend) ? backend : {})
  }

  /**
   * Looks at all leases. What can only be ended has ended when it resolves; pulls, which may be very many,
   * are taken over after that. Whether there was anything to do.
   */
  async look(): Promise<boolean> {
    const { rooms, pulls } = this.#parts
    const over = await this.#leases.expired(() => rooms.jobs.all())
    const left = over.filter((job) => pulls.mayTakeLong(job))
    for (const job of over) if (!left.includes(job)) await this.#settle(job)
    this.#takingOver ??= this.#takeOver(left).finally(() => (this.#takingOver = undefined))
    return over.length > 0
  }

  /** Resolves when the pulls that were found are this process's, or another's. */
  async isOver(): Promise<void> {
    await this.#takingOver
  }

  async #takeOver(jobs: readonly Job[]): Promise<void> {
    const limit = pLimit(pullsAtOnce)
    await Promise.all(jobs.map((job) => limit(() => this.#settle(job))))
  }

  /** Never rejects: what fails stays over, and is tried again; the others must not wait for it. */
  async #settle(job: Job): Promise<void> {
    const { rooms, lookup } = this.#parts
    try {
      await this.#endOrGoOn(job)
    } catch (error) {
      rooms.onProblem(asError(error))
    }
    lookup.forgetJobs()
  }

  async #endOrGoOn(job: Job): Promise<void> {
    const { rooms, pulls, events } = this.#parts
    const records = await rooms.catalog.fresh(job.name)
    const isPublished = records.some(({ uuid }) => uuid === job.uuid)
    if (pulls.isPull(job) && !job.cancelled && !isPublished) {
      await pulls.takeOver(job)
      return
    }
    if (pulls.isPull(job)) await pulls.clearUp(job)
    const failed = await settle(rooms, job)
    if (failed) events.image(imageOfJob(failed))
  }
}
