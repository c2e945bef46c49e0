// One file of the disk, from its launch to its end: its state, and the few steps that change it
// (contract §4.2). What it is made of comes from elsewhere; here it becomes `ready`, or `failed`.

import { dirname } from 'node:path'
import { makeParents } from '@backing-image/backend-local'
import { ImageError, asError } from '@backing-image/core'
import { type Arrival, type Place, assertWanted } from './arrival.ts'
import {
  editionAt,
  modificationTimeOf,
  removeFiles,
  tellConfig,
  writeConfig,
} from './config-file.ts'
import { type Found, blockBytes, findFile } from './existing.ts'
import type { FileInfo, FileState } from './file-info.ts'
import { assertNoGateway } from './gateway-files.ts'
import { type Launch, emptyInfo } from './image-files.ts'
import type { Log } from './log.ts'
import { configPath, scratchPaths } from './paths.ts'

/** How long a source may take to give the first byte (contract §4.3). */
const usualBeginTimeoutMs = 60_000
/** Copies of one file that are sent at a time (contract §2.6). */
const sendingLimit = 3

export interface ManagedFileOptions {
  place: Place
  log: Log
  launch: Launch
  /** Resolves when nobody works on a file of the same path any more. */
  free: Promise<void>
  beginTimeoutMs?: number | undefined
}

export class ManagedFile {
  readonly #place: Place
  readonly #log: Log
  readonly #launch: Launch
  readonly #info: FileInfo
  readonly #ending = new AbortController()
  readonly #prepared: Promise<void>
  readonly #beginTimeoutMs: number
  #working: Promise<unknown> = Promise.resolve()

  constructor({ place, log, launch, free, beginTimeoutMs }: ManagedFileOptions) {
    this.#place = place
    this.#log = log
    this.#launch = launch
    this.#info = emptyInfo(launch)
    this.#beginTimeoutMs = beginTimeoutMs ?? usualBeginTimeoutMs
    this.#prepared = this.#prepare(free)
    this.#working = this.#prepared
  }

  get path(): string {
    return this.#launch.path
  }

  get uuid(): string {
    return this.#launch.uuid
  }

  get state(): FileState {
    return this.#info.state
  }

  /** In bytes, as far as it is known how many will come; 0 or less where it is not. */
  get size(): number {
    return this.#info.size
  }

  /** Aborted when nobody wants the file any more, or it has failed. */
  get signal(): AbortSignal {
    return this.#ending.signal
  }

  /**
   * As it stands; a ready file that has changed is `unknown` from now on (contract §3.6), and one that can
   * not be looked at is so as long as that lasts: the others are to be told of all the same.
   */
  async info(): Promise<FileInfo> {
    try {
      await this.#watchReady()
    } catch (error) {
      return { ...this.#info, state: 'unknown', message: asError(error).message }
    }
    return { ...this.#info }
  }

  /**
   * Makes the file of what `work` brings, unless what is on the disk serves. Resolves when it is ready;
   * rejects when it has failed, with why.
   */
  async make(work: () => Promise<Arrival>): Promise<void> {
    await this.#prepared
    if (this.state === 'ready') return
    if (this.state !== 'starting') {
      const what = `invalid state ${this.state} for actual processing. ${this.#info.message}`
      throw new ImageError('failed_precondition', what.trim())
    }
    const making = this.#make(work)
    this.#working = making.catch(() => {})
    await making
  }

  async #make(work: () => Promise<Arrival>): Promise<void> {
    try {
      await makeParents(this.#place.disk, this.#place.root, this.path)
      await this.#publish(await work())
    } catch (error) {
      this.fail(this.signal.aborted ? asError(this.signal.reason) : asError(error))
      throw error
    }
  }

  /** How many bytes will come in all; -1 where nobody knows. */
  announce(sizeBytes: number): void {
    this.#info.size = sizeBytes
  }

  /** So many more bytes have come. */
  advance(lengthBytes: number): void {
    const info = this.#info
    if (info.state === 'starting') info.state = 'in-progress'
    if (info.state !== 'in-progress') return
    info.processedSize += lengthBytes
    if (info.size <= 0) return
    info.progress = Math.min(100, Math.floor((info.processedSize / info.size) * 100))
  }

  /** Ends as `failed`, unless it is ready or has failed. What it was made of goes. */
  fail(error: Error): void {
    const info = this.#info
    if (info.state === 'ready' || info.state === 'failed') return
    info.state = 'failed'
    info.message = `failed to process sync file: ${error.message}`
    this.#ending.abort(error)
    this.#log.warn({ path: this.path, message: error.message }, 'file has failed')
  }

  /** Nobody wants it any more: its work ends. Resolves when nothing is written any more. */
  async end(): Promise<void> {
    this.#ending.abort(new ImageError('cancelled', 'the file was removed or forgotten'))
    // What is made is being worked on only when it has been prepared.
    await this.#prepared
    await this.#working
  }

  /** Runs `send` beside at most two others. Rejects with why it can not; else it has begun. */
  async lend(send: () => Promise<void>): Promise<void> {
    const info = this.#info
    if (info.sendingReference >= sendingLimit) {
      throw new ImageError(
        'resource_exhausted',
        `syncing file ${this.path} reaches to the simultaneous sending limit ${sendingLimit}`,
      )
    }
    info.sendingReference += 1
    let isLent = false
    try {
      await this.#watchReady()
      this.assertReady('file sending')
      isLent = true
    } finally {
      if (!isLent) info.sendingReference -= 1
    }
    void send()
      .catch((error: unknown) => {
        this.#log.warn({ path: this.path, message: asError(error).message }, 'sending has failed')
      })
      .finally(() => (info.sendingReference -= 1))
  }

  /** `what` completes the words of Longhorn: "invalid state … for …". */
  assertReady(what: string): void {
    if (this.state === 'ready') return
    throw new ImageError('failed_precondition', `invalid state ${this.state} for ${what}`)
  }

  async #prepare(free: Promise<void>): Promise<void> {
    await free
    try {
      await assertNoGateway(this.#place.disk, dirname(this.path))
      const found = await this.#reusable()
      if (found) return await this.#adopt(found)
      await removeFiles(this.#place.disk, scratchPaths(this.path))
      this.signal.throwIfAborted()
    } catch (error) {
      this.fail(asError(error))
      return
    }
    this.#info.state = 'starting'
    const timer = setTimeout(() => {
      if (this.state !== 'starting') return
      const what = `failed to wait for processing begin in ${this.#beginTimeoutMs / 1000} seconds`
      this.fail(new ImageError('unavailable', `${what}, current state starting`))
    }, this.#beginTimeoutMs).unref()
    this.signal.addEventListener('abort', () => clearTimeout(timer))
  }

  /** What is on the disk, where it is what is wanted (contract §3.6); it is never harmed. */
  async #reusable(): Promise<Found | undefined> {
    const { size, expectedChecksum } = this.#launch
    const found = await this.#look(size)
    if (!found) return undefined
    if (expectedChecksum === '' || expectedChecksum === found.currentChecksum) return found
    const about = { path: this.path, expectedChecksum, currentChecksum: found.currentChecksum }
    this.#log.warn(about, 'the file on the disk is another')
    return undefined
  }

  #look(sizeWanted: number): Promise<Found | undefined> {
    return findFile(this.#place, this.path, { sizeWanted, signal: this.signal, log: this.#log })
  }

  async #adopt(found: Found): Promise<void> {
    await tellConfig(this.#place, { ...this.#info, ...found }, this.#log)
    this.signal.throwIfAborted()
    this.#becomeReady(found)
    this.#log.info({ path: this.path, size: found.size }, 'file of the disk is reused')
  }

  async #publish({ temporary, size, sha512, shape }: Arrival): Promise<void> {
    try {
      this.signal.throwIfAborted()
      assertWanted({ size, sha512 }, this.#info)
      const stats = await temporary.seal()
      const found: Found = {
        size,
        virtualSize: shape.virtualSize,
        realSize: Number(stats.blocks * blockBytes),
        currentChecksum: sha512,
        // Renaming leaves it as it is.
        modificationTime: modificationTimeOf(stats),
      }
      const { disk, root } = this.#place
      // First, so that nobody sees the file without it (contract §3.6).
      await writeConfig(disk, root, { ...this.#info, ...found })
      try {
        await temporary.commit(root, this.path, { ifAbsent: false, signal: this.signal })
      } catch (error) {
        await removeFiles(disk, [configPath(this.path)]).catch(() => {})
        throw error
      }
      this.signal.throwIfAborted()
      this.#becomeReady(found)
      this.#log.info({ path: this.path, size, sha512 }, 'file is ready')
    } catch (error) {
      await temporary.discard()
      throw error
    }
  }

  #becomeReady(found: Found): void {
    Object.assign(this.#info, found, {
      state: 'ready',
      progress: 100,
      processedSize: found.size,
      message: '',
    })
  }

  async #watchReady(): Promise<void> {
    const info = this.#info
    if (info.state !== 'ready') return
    const { modificationTime, size } = await editionAt(this.#place.disk, this.path)
    const isSame = modificationTime === info.modificationTime && size === info.size
    if (info.state !== 'ready' || isSame || this.signal.aborted) return
    info.state = 'unknown'
    info.message = `ready file is suddenly modified at ${modificationTime}, need to re-check the checksum`
    info.modificationTime = modificationTime
    this.#log.warn({ path: this.path, modificationTime }, 'a ready file was modified')
    this.#working = this.#recheck()
  }

  /** The file is not touched, whatever is found. */
  async #recheck(): Promise<void> {
    const { currentChecksum: before, size } = this.#info
    try {
      const found = await this.#look(size)
      if (!found)
        throw new ImageError('data_loss', `${this.path} is no file of ${size} bytes any more`)
      if (found.currentChecksum !== before) {
        throw new ImageError(
          'data_loss',
          `ready file is modified at ${found.modificationTime} with a different checksum ` +
            `${found.currentChecksum}, previous checksum ${before}`,
        )
      }
      await tellConfig(this.#place, { ...this.#info, ...found }, this.#log)
      this.#becomeReady(found)
    } catch (error) {
      this.#info.state = 'failed'
      this.#info.message = asError(error).message
      this.#log.warn({ path: this.path, message: this.#info.message }, 'file has failed')
    }
  }
}
