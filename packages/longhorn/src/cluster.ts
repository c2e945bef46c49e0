// One cluster as this process knows it: watched, spoken to by the one process that leads, and told of. A
// Longhorn that is away or slow holds up nothing but this.

import { setTimeout as pause } from 'node:timers/promises'
import {
  type ClusterStatus,
  type ImageStatus,
  type ImageStore,
  ImageError,
  type Leader,
  asError,
  parseClusterKey,
} from '@backing-image/core'
import type { StatusBoard } from './board.ts'
import { LonghornError } from './failure.ts'
import { Registrar, type Registering } from './registrar.ts'
import type { LonghornImage } from './resource.ts'
import { type RegisterMode, wantedOf } from './wanted.ts'
import { type Watching, watchImages } from './watch.ts'

export interface ClusterOptions extends Omit<Registering, 'signal' | 'store'> {
  store: Pick<ImageStore, 'clusters' | 'openFile' | 'published' | 'subscribe'>
  board: StatusBoard
  register: RegisterMode
  /** What is in the way of all registering, each as a sentence. */
  obstacles: readonly string[]
  /** Told whenever it is reached or lost, and at the first look. */
  onChange?: (report: LonghornReport) => void
  /** Told of what went wrong with the store. */
  onProblem: (error: Error) => void
  intervals?: Partial<Intervals>
}

/** In milliseconds. */
interface Intervals {
  /** The most and the least between two rounds. */
  roundMost: number
  roundLeast: number
  /** How often Longhorn is asked, and how soon after a failure. */
  poll: Watching['pollIntervalMs']
  retry: Watching['retryDelayMs']
}

export interface LonghornReport {
  cluster: string
  url: string
  register: RegisterMode
  status: 'ok' | 'unavailable' | 'unknown'
  /** Whether this process is the one that registers. */
  isLeading: boolean
  /** What is wrong, or keeps images from being registered; empty when nothing is. */
  message: string
  /** When the status became what it is, ISO 8601. */
  since: string
  /** How many images there are of each state in Longhorn. */
  images: Record<string, number>
}

const usualIntervals: Intervals = {
  roundMost: 5000,
  roundLeast: 1000,
  poll: undefined,
  retry: undefined,
}
/** A status that has not changed is told again so often, that nobody takes it for that of a dead process. */
const statusAgeMaxMs = 60_000

export class Cluster {
  readonly #options: ClusterOptions
  readonly #intervals: Intervals
  readonly #registrar: Registrar
  readonly #leader: Leader
  readonly #stopping = new AbortController()
  #seen: Map<string, LonghornImage> | undefined
  /** What is seen may be from before something was made. */
  #isStale = false
  #status: LonghornReport['status'] = 'unknown'
  #trouble = ''
  /** What keeps this process from looking after it. */
  #problem = ''
  #since = new Date()
  #lookedAtMs = -Infinity
  #told = { text: '', atMs: -Infinity }
  #isWoken = false
  #interrupt = (): void => {}
  #running: Promise<unknown> | undefined

  constructor(options: ClusterOptions) {
    this.#options = options
    this.#intervals = { ...usualIntervals, ...options.intervals }
    this.#registrar = new Registrar({
      ...options,
      signal: this.#stopping.signal,
      onRegistered: (registration) => {
        this.#isStale = true
        options.onRegistered?.(registration)
      },
    })
    this.#leader = options.store.clusters.leader(options.cluster)
  }

  /** Begins; resolves at once. */
  start(): void {
    const { client, store } = this.#options
    const { signal } = this.#stopping
    const { poll, retry } = this.#intervals
    const unsubscribe = store.subscribe((event) => {
      if (event.kind === 'deleted' || event.image.state === 'ready') this.#wake()
    })
    const watching = watchImages(client, {
      signal,
      onImages: (images) => this.#reached(images),
      onTrouble: (error) => this.#lost(error),
      ...(poll !== undefined && { pollIntervalMs: poll }),
      ...(retry !== undefined && { retryDelayMs: retry }),
    })
    this.#running = Promise.all([watching, this.#rounds()]).finally(unsubscribe)
  }

  /** Something has changed there: what is told of it is looked at again soon. */
  look(): void {
    void this.#options.client.list(this.#stopping.signal).then(
      (images) => this.#reached(images),
      () => {},
    )
  }

  /** Lets another process begin at once. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake()
    await this.#running
    await this.#leader.leave()
  }

  /** What Longhorn had when it was last looked at; empty while it is not reached. */
  get seen(): LonghornImage[] {
    return [...(this.#seen?.values() ?? [])]
  }

  /** From memory. */
  report(): LonghornReport {
    const { client, cluster, register, board, obstacles } = this.#options
    const images: Record<string, number> = {}
    for (const { state } of Object.values(board.get(cluster)?.images ?? {})) {
      images[state] = (images[state] ?? 0) + 1
    }
    return {
      cluster,
      url: client.url,
      register,
      status: this.#status,
      isLeading: this.#leader.isLeading,
      message: [this.#trouble, this.#problem, ...(register === 'off' ? [] : obstacles)]
        .filter(Boolean)
        .join(' '),
      since: this.#since.toISOString(),
      images,
    }
  }

  async #rounds(): Promise<void> {
    const { signal } = this.#stopping
    const { roundLeast, roundMost } = this.#intervals
    while (!signal.aborted) {
      this.#isWoken = false
      try {
        await this.#round()
        this.#problem = ''
      } catch (error) {
        if (signal.aborted) break
        if (error instanceof LonghornError) this.#lost(error)
        else {
          this.#problem = asError(error).message
          this.#options.onProblem(asError(error))
        }
      }
      await pause(roundLeast, undefined, { signal }).catch(() => {})
      await this.#untilWoken(roundMost - roundLeast)
    }
  }

  /** Something has changed: the next round begins soon. */
  #wake(): void {
    this.#isWoken = true
    this.#interrupt()
  }

  async #untilWoken(timeMostMs: number): Promise<void> {
    if (this.#isWoken) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeMostMs)
      this.#interrupt = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async #round(): Promise<void> {
    const { store, board, cluster, register, obstacles } = this.#options
    if (!(await this.#leads())) return await board.refresh()
    await this.#mend()
    const published = await store.published()
    let images = board.get(cluster)?.images ?? {}
    const seen = await this.#fresh()
    if (seen) {
      const wanted = obstacles.length > 0 ? [] : wantedOf(published, register)
      images = await this.#registrar.round(published, wanted, seen, async (known) => {
        await this.#tell(known)
        return await this.#leads()
      })
    }
    await this.#tell(images)
    await board.refresh(cluster)
  }

  /** What can not be read is made anew of what Longhorn has. */
  async #mend(): Promise<void> {
    const { store, cluster, onProblem } = this.#options
    await store.clusters.registrations(cluster)
    for (const key of store.clusters.unreadable) {
      if (parseClusterKey(key)?.cluster !== cluster) continue
      await store.clusters.removeUnreadable(key)
      onProblem(new ImageError('data_loss', `${key} could not be read, and is made anew.`))
    }
  }

  /** What Longhorn has; undefined while it is not reached. */
  async #fresh(): Promise<Map<string, LonghornImage> | undefined> {
    if (this.#seen && this.#isStale) {
      this.#reached(await this.#options.client.list(this.#stopping.signal))
      this.#isStale = false
    }
    return this.#seen
  }

  async #leads(): Promise<boolean> {
    if (this.#stopping.signal.aborted) return false
    // However often somebody wakes the rounds, it is looked at that often.
    const isRecent = performance.now() - this.#lookedAtMs < this.#intervals.roundMost * 0.8
    if (isRecent) return this.#leader.isLeading
    this.#lookedAtMs = performance.now()
    return await this.#leader.look()
  }

  /** Into memory at once, and for the other processes when it has changed. */
  async #tell(images: Record<string, ImageStatus>): Promise<void> {
    const { cluster, board, store } = this.#options
    const { status, message } = this.report()
    const isReached = status === 'ok'
    const now: ClusterStatus = { cluster, at: new Date().toISOString(), isReached, message, images }
    board.put(now)
    const text = JSON.stringify({ isReached, message, images })
    const ageMs = performance.now() - this.#told.atMs
    const isSame = text === this.#told.text
    if (ageMs < (isSame ? statusAgeMaxMs : this.#intervals.roundMost)) return
    await store.clusters.tell(now)
    this.#told = { text, atMs: performance.now() }
  }

  #reached(images: LonghornImage[]): void {
    this.#seen = new Map(images.map((image) => [image.name, image]))
    this.#become('ok', '')
    this.#wake()
  }

  #lost(error: Error): void {
    this.#seen = undefined
    this.#become('unavailable', error.message)
    this.#wake()
  }

  #become(status: LonghornReport['status'], trouble: string): void {
    const hasChanged = status !== this.#status
    this.#status = status
    this.#trouble = trouble
    if (!hasChanged) return
    this.#since = new Date()
    this.#options.onChange?.(this.report())
  }
}
