// The scrubs of a store: at most one at a time, whichever process runs it; told of by any; ended by
// another when its process has died.

import { setTimeout as delay } from 'node:timers/promises'
import { hasOwners } from '../backend.ts'
import { ImageError, asError, isImageError } from '../errors.ts'
import type { Hasher } from '../hasher.ts'
import { assertScrubId } from '../layout.ts'
import { freshId } from '../record.ts'
import type { Sources } from '../pull/source.ts'
import { assertWritable } from '../refuse.ts'
import type { Rooms } from '../rooms.ts'
import { probe } from '../sweep.ts'
import type { Step } from './finding.ts'
import { isDue } from './interval.ts'
import { Rate } from './rate.ts'
import { type ScrubReport, beginReport } from './report.ts'
import { Cancelled, runSteps } from './run.ts'
import { Shelf, type Stored } from './shelf.ts'
import { stepsNamed } from './steps.ts'
import { Watch } from './watch.ts'

export interface ScrubOptions {
  /** The most that this process reads to hash it again. */
  bytesPerSecond: number
  /** A scrub with repair begins by itself when the last one began so long ago; absent: never. */
  intervalMs?: number
  /** Told of each scrub of this process that has ended. */
  onEnd?: (report: ScrubReport) => void
}

export interface ScrubRequest {
  repair?: boolean
  /** Names of steps; all of them unless given. */
  steps?: readonly string[]
  /** Slower than the process may. */
  bytesPerSecond?: number
}

export const scrubRateUsual: number = 100 * 1024 * 1024
const beatIntervalMs = 5000
/** As with jobs: who could not write for so long may have a successor. */
const beatSilenceMaxMs = 20_000
const lockTriesMax = 5
const lockDelayMs = 200

/** A scrub that this process runs. */
interface OwnScrub {
  report: ScrubReport
  startedNs: bigint
  count: number
  controller: AbortController
  beatAtMs: number
  /** The beat under way. */
  beating?: Promise<void> | undefined
  ended: Promise<void>
}

export class Scrubs {
  readonly #rooms: Rooms
  readonly #parts: { rooms: Rooms; hasher: Hasher; sources: Sources }
  readonly #options: ScrubOptions
  readonly #shelf: Shelf
  readonly #owner: string
  readonly #watch: Watch
  /** Ids that this process is about to lock with. */
  readonly #beginning = new Set<string>()
  #own: OwnScrub | undefined
  #isStopping = false

  constructor(parts: { rooms: Rooms; hasher: Hasher; sources: Sources }, options: ScrubOptions) {
    this.#rooms = parts.rooms
    this.#parts = parts
    this.#options = options
    const { backend } = parts.rooms
    this.#shelf = new Shelf(backend)
    this.#owner = hasOwners(backend) ? backend.owner : freshId()
    this.#watch = new Watch({
      rooms: parts.rooms,
      shelf: this.#shelf,
      owner: this.#owner,
      isOwn: (id) => this.#own?.report.id === id || this.#beginning.has(id),
    })
  }

  /**
   * Begins a scrub, which goes on by itself. Rejects with `already_exists` while one runs anywhere in
   * the store, and with `invalid_argument` for a step that there is not.
   */
  async start(request: ScrubRequest = {}): Promise<ScrubReport> {
    return await this.#start(request, async () => true)
  }

  /** The report of a scrub as it stands; `not_found`. */
  async get(id: string): Promise<ScrubReport> {
    return (await this.#find(id)).report
  }

  /** The reports that are kept, the newest first, without their findings. */
  async list(): Promise<Omit<ScrubReport, 'findings'>[]> {
    const all = await this.#shelf.all()
    return all.map(({ report }) => {
      const { findings: _, ...rest } = this.#current(report)
      return rest
    })
  }

  /** Cancels a scrub that runs, wherever; removes the report of one that has ended; `not_found`. */
  async cancel(id: string): Promise<void> {
    const { report } = await this.#find(id)
    if (report.state !== 'running') return await this.#shelf.remove(id)
    await this.#shelf.wishCancelled(id)
    if (this.#own?.report.id === id) this.#own.controller.abort(new Cancelled())
  }

  /** One look at the scrub of another process: frees the store of one whose process is dead. */
  async watch(): Promise<void> {
    const own = this.#own
    if (own?.report.endedAt) {
      await own.ended
      if (this.#own === own) await this.#finish(own)
    }
    await this.#watch.look()
  }

  /** Tells that the own scrub goes on, if there is one, and looks whether it may; never rejects. */
  async beat(): Promise<void> {
    const own = this.#own
    if (!own) return
    own.beating ??= this.#beat(own).finally(() => (own.beating = undefined))
    await own.beating
  }

  /** Begins the scrub that is due by the interval, if it is and nobody else does. */
  async startWhenDue(): Promise<void> {
    const { intervalMs } = this.#options
    if (intervalMs === undefined || this.#own) return
    if (!(await this.#isDue(intervalMs, await probe(this.#rooms.backend)))) return
    try {
      // Another process may have done it between that look and the lock.
      await this.#start({ repair: true }, (nowNs) => this.#isDue(intervalMs, nowNs))
    } catch (error) {
      // Another process was faster.
      if (!isImageError(error, 'already_exists')) throw error
    }
  }

  /** Stops what runs here; the store may be left afterwards. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#own?.controller.abort(stops())
    await this.#own?.ended
  }

  /** `isWanted` is asked with the store's own time once no other can begin. */
  async #start(
    request: ScrubRequest,
    isWanted: (nowNs: bigint) => Promise<boolean>,
  ): Promise<ScrubReport> {
    const steps = stepsNamed(request.steps)
    assertWritable(this.#rooms.backend)
    if (this.#isStopping) throw stops()
    const { repair = false, bytesPerSecond = Infinity } = request
    const rate = Math.min(bytesPerSecond, this.#options.bytesPerSecond)
    const report = beginReport(freshId(), steps, { repair, rate })
    this.#beginning.add(report.id)
    try {
      const startedNs = await this.#lock(report.id)
      try {
        if (!(await isWanted(startedNs))) throw busy(report.id)
        await this.#begin(report, steps, startedNs)
      } catch (error) {
        await this.#shelf.unlock(report.id)
        throw error
      }
    } finally {
      this.#beginning.delete(report.id)
    }
    return structuredClone(report)
  }

  async #isDue(intervalMs: number, nowNs: bigint): Promise<boolean> {
    const [newest] = await this.#shelf.all()
    return newest === undefined || isDue(newest, intervalMs, nowNs)
  }

  /** Resolves with the store's own time of it. */
  async #lock(id: string): Promise<bigint> {
    for (let tries = 1; ; tries++) {
      try {
        return (await this.#shelf.lock({ id, owner: this.#owner })).modifiedAt
      } catch (error) {
        if (!isImageError(error, 'already_exists')) throw error
        const lock = await this.#shelf.locked()
        const isFree = !lock || (await this.#watch.freeIfGone(lock))
        // Who was told that it has ended may begin the next at once.
        const isEnding = !isFree && (await this.#shelf.read(lock.id))?.report.state !== 'running'
        if (tries >= lockTriesMax || (!isFree && !isEnding)) throw busy(lock?.id ?? '')
        if (isEnding) await delay(lockDelayMs)
      }
    }
  }

  async #begin(report: ScrubReport, steps: readonly Step[], startedNs: bigint): Promise<void> {
    for (const stored of await this.#shelf.all()) await this.#watch.end(stored)
    await this.#shelf.prune()
    const own: OwnScrub = {
      report,
      startedNs,
      count: 0,
      controller: new AbortController(),
      beatAtMs: performance.now(),
      ended: Promise.resolve(),
    }
    await this.#write(own)
    this.#own = own
    own.ended = this.#run(own, steps).catch((error: unknown) =>
      this.#rooms.onProblem(asError(error)),
    )
  }

  async #run(own: OwnScrub, steps: readonly Step[]): Promise<void> {
    const { report, startedNs, controller } = own
    const timer = setInterval(() => void this.beat(), beatIntervalMs).unref()
    await runSteps(steps, report, {
      ...this.#parts,
      rate: new Rate(report.rate),
      signal: controller.signal,
      nowNs: startedNs,
    })
    clearInterval(timer)
    // An older word of this process must not come after the last.
    await own.beating
    this.#options.onEnd?.(structuredClone(report))
    await this.#finish(own)
  }

  /** Where this fails it is done at the next look, or by another process when this one has gone. */
  async #finish(own: OwnScrub): Promise<void> {
    await this.#write(own)
    await this.#shelf.unlock(own.report.id)
    this.#own = undefined
  }

  async #beat(own: OwnScrub): Promise<void> {
    const { controller, report } = own
    if (performance.now() - own.beatAtMs > beatSilenceMaxMs) {
      const why = `The storage did not answer for ${beatSilenceMaxMs} ms.`
      controller.abort(new ImageError('unavailable', why))
    }
    try {
      if (await this.#shelf.isCancelled(report.id)) return controller.abort(new Cancelled())
      const lock = await this.#shelf.locked()
      if (lock?.id !== report.id) {
        const why = 'Another process took this scrub for dead, and ended it. Start it again.'
        return controller.abort(new ImageError('aborted', why))
      }
      await this.#write(own)
      own.beatAtMs = performance.now()
    } catch (error) {
      this.#rooms.onProblem(asError(error))
    }
  }

  async #write(own: OwnScrub): Promise<void> {
    own.count += 1
    const { count, report, startedNs } = own
    await this.#shelf.write({ owner: this.#owner, count, startedNs: String(startedNs), report })
  }

  async #find(id: string): Promise<Stored> {
    assertScrubId(id)
    const stored = await this.#shelf.read(id)
    if (!stored) throw new ImageError('not_found', `There is no scrub ${id}.`)
    return { ...stored, report: this.#current(stored.report) }
  }

  /** Of the own scrub more is known than the store has. */
  #current(report: ScrubReport): ScrubReport {
    return this.#own?.report.id === report.id ? structuredClone(this.#own.report) : report
  }
}

function busy(id: string): ImageError {
  return new ImageError(
    'already_exists',
    `The scrub ${id} is running, and there is one at a time in a store: GET /v1/scrub/${id} tells ` +
      'how far it is, DELETE cancels it.',
  )
}

function stops(): ImageError {
  return new ImageError(
    'cancelled',
    'The server stopped before the scrub was done. Start it again.',
  )
}
