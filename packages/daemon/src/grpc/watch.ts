// Those who want to know when something has changed (contract §1.5). The files are looked at only while
// somebody watches.

import type { Writable } from 'node:stream'
import { ImageError, asError } from '@backing-image/core'
import type { FileInfo } from '../file-info.ts'
import type { Log } from '../log.ts'

export interface WatchOptions {
  list: () => Promise<FileInfo[]>
  log: Log
  /** How long between two looks, and so between two messages. */
  intervalMs?: number
}

const usualIntervalMs = 3000
/** Who does not take so many is dropped. */
const undeliveredMax = 100
const watchersMax = 1000

export class Watch {
  readonly #options: WatchOptions
  readonly #watchers = new Set<Writable>()
  #timer: NodeJS.Timeout | undefined
  /** All files at the last look; it is kept while nobody watches, so that who comes back is told. */
  #seen: string | undefined
  #hasFailed = false

  constructor(options: WatchOptions) {
    this.#options = options
  }

  /**
   * Writes an empty message to `stream` whenever something has changed, until it is closed; ends it
   * when it takes none. Throws `resource_exhausted` when there are too many.
   */
  add(stream: Writable): void {
    if (this.#watchers.size >= watchersMax) {
      const text = `${watchersMax} watch this daemon already: close those that nobody reads.`
      throw new ImageError('resource_exhausted', text)
    }
    this.#watchers.add(stream)
    for (const event of ['close', 'cancelled', 'error']) {
      stream.on(event, () => this.#remove(stream))
    }
    if (this.#timer !== undefined) return
    this.#schedule()
    // From here on; who comes back after a while compares with what it has missed.
    if (this.#seen === undefined) void this.#look()
  }

  /** Ends all streams. */
  close(): void {
    for (const stream of this.#watchers) this.#drop(stream)
  }

  #schedule(): void {
    const { intervalMs = usualIntervalMs } = this.#options
    this.#timer = setTimeout(() => void this.#tick(), intervalMs).unref()
  }

  async #tick(): Promise<void> {
    const mine = this.#timer
    if (await this.#look()) this.#tell()
    // Unless the last one has gone meanwhile: then whoever came next has begun anew.
    if (this.#timer === mine && this.#watchers.size > 0) this.#schedule()
  }

  /** Whether something differs from the look before. */
  async #look(): Promise<boolean> {
    const { list, log } = this.#options
    try {
      const files = await list()
      this.#hasFailed = false
      const now = JSON.stringify(files)
      const hasChanged = this.#seen !== undefined && now !== this.#seen
      this.#seen = now
      return hasChanged
    } catch (error) {
      if (!this.#hasFailed) log.warn({ err: asError(error) }, 'the files could not be listed')
      this.#hasFailed = true
      return false
    }
  }

  #tell(): void {
    for (const stream of this.#watchers) {
      if (stream.writableLength < undeliveredMax) stream.write({})
      else this.#drop(stream)
    }
  }

  #drop(stream: Writable): void {
    stream.end()
    this.#remove(stream)
  }

  #remove(stream: Writable): void {
    this.#watchers.delete(stream)
    if (this.#watchers.size > 0) return
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
