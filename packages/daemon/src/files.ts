// All files of a disk that somebody has asked for: one each path and uuid. Nothing is known at the start;
// what lies on the disk is found again when it is asked for (contract §1.4).

import { dirname } from 'node:path'
import { type Bytes, ImageError, asError } from '@backing-image/core'
import { type Arrival, type Place, arrive, assertWanted } from './arrival.ts'
import { removeFiles } from './config-file.ts'
import { conversionOf, converted } from './convert.ts'
import { eraseFile } from './erase.ts'
import type { FileInfo } from './file-info.ts'
import { assertNoGateway } from './gateway-files.ts'
import type { Launch } from './image-files.ts'
import type { Log } from './log.ts'
import { ManagedFile } from './managed-file.ts'
import { takeOver } from './take-over.ts'
import { assertFilePath, configPath, temporaryPath } from './paths.ts'

const sectorBytes = 512

export interface FilesOptions {
  place: Place
  log: Log
  /** How long a source may take to give the first byte; 60 s unless a test wants less. */
  beginTimeoutMs?: number
}

export class Files {
  readonly place: Place
  readonly #log: Log
  readonly #beginTimeoutMs: number | undefined
  #isClosed = false
  readonly #files = new Map<string, ManagedFile>()
  /** Files that nobody wants any more, while something may still be written. */
  readonly #leaving = new Map<string, Promise<void>>()

  constructor({ place, log, beginTimeoutMs }: FilesOptions) {
    this.place = place
    this.#log = log
    this.#beginTimeoutMs = beginTimeoutMs
  }

  async list(): Promise<FileInfo[]> {
    const infos = await Promise.all([...this.#files.values()].map((file) => file.info()))
    return infos.toSorted((one, other) => (one.filePath < other.filePath ? -1 : 1))
  }

  async get(path: string): Promise<FileInfo> {
    return await this.find(path).info()
  }

  /** Throws `not_found`. */
  find(path: string): ManagedFile {
    const file = this.#files.get(path)
    if (file) return file
    throw new ImageError('not_found', `can not find sync file ${path}`)
  }

  async remove(path: string): Promise<void> {
    await this.#leave(path, async (file) => await eraseFile(this.place, file.path))
  }

  async forget(path: string): Promise<void> {
    await this.#leave(path, async () => {})
  }

  async fail(path: string, reason: string): Promise<void> {
    this.#files.get(path)?.fail(new ImageError('unavailable', reason))
  }

  async #leave(path: string, last: (file: ManagedFile) => Promise<void>): Promise<void> {
    const file = this.#files.get(path)
    // Whoever asks again is told when nothing is left of it, too.
    if (!file) return await this.#leaving.get(path)
    this.#files.delete(path)
    const left = file.end().then(() => last(file))
    const settled = left.catch(() => {})
    this.#leaving.set(path, settled)
    await left.finally(() => {
      if (this.#leaving.get(path) === settled) this.#leaving.delete(path)
    })
  }

  /** Ends all that goes on, and leaves what is on the disk. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#files.keys()].map(async (path) => await this.forget(path)))
  }

  /**
   * A new file, `pending`. Throws `already_exists` while one of that path or uuid is known, and
   * `invalid_argument` for what can be told to be wrong.
   */
  begin(given: Launch): ManagedFile {
    const launch = { ...given, path: assertFilePath(this.place.root, given.path) }
    if (launch.uuid === '') throw new ImageError('invalid_argument', 'no uuid is given')
    assertChecksum(launch.expectedChecksum)
    this.#assertNew(launch)
    const free = this.#leaving.get(launch.path) ?? Promise.resolve()
    const file = new ManagedFile({
      place: this.place,
      log: this.#log,
      launch,
      free,
      beginTimeoutMs: this.#beginTimeoutMs,
    })
    this.#files.set(launch.path, file)
    return file
  }

  #assertNew({ path, uuid }: Launch): void {
    if (this.#files.has(path)) {
      throw new ImageError('already_exists', `file ${path} already exists`)
    }
    for (const file of this.#files.values()) {
      if (file.uuid !== uuid) continue
      throw new ImageError('already_exists', `file ${path} with uuid ${uuid} already exists`)
    }
  }

  /** Begins a file that `work` makes; it is told of by its state alone. */
  start(launch: Launch, work: (file: ManagedFile) => Promise<Arrival>): void {
    const file = this.begin(launch)
    // Its failure is kept, and logged, by the file.
    file.make(async () => await work(file)).catch(() => {})
  }

  /**
   * Makes a file of bytes that are sent here. Resolves when they are stored, also where their checksum
   * is not the expected one: that is told by the state (contract §2.4). They are not read where the
   * file is there already.
   */
  async upload(launch: Launch, open: (file: ManagedFile) => Promise<Bytes>): Promise<void> {
    assertSize(launch.size, 'the uploaded file size')
    const file = this.begin(launch)
    try {
      await file.make(async () => {
        const arrival = await this.store(file, await open(file))
        return await converted(this.place, file, arrival, conversionOf(launch))
      })
    } catch (error) {
      if (isMismatch(error)) return
      throw error
    }
  }

  /** Bytes in order, into what becomes the file; no more of them than were announced. */
  async store(file: ManagedFile, bytes: Bytes): Promise<Arrival> {
    const { signal } = file
    let size = 0
    const onBytes = (lengthBytes: number): void => {
      size += lengthBytes
      file.advance(lengthBytes)
      if (size > file.size)
        assertWanted({ size, sha512: '' }, { size: file.size, expectedChecksum: '' })
    }
    return await arrive(this.place, temporaryPath(file.path), bytes, { signal, onBytes })
  }

  async fetch(launch: Launch, source: string): Promise<void> {
    assertSize(launch.size, 'the file size')
    const from = assertFilePath(this.place.root, source)
    const file = this.begin(launch)
    const isElsewhere = from !== file.path
    const made = file.make(async () => {
      if (isElsewhere) return await takeOver(this.place, file, from)
      throw new ImageError('not_found', 'syncing file should be directly reused but failed')
    })
    // Whatever became of it, nobody else looks after the source (contract §2.6).
    void made
      .catch(() => {})
      .then(async () => {
        // When we are ended it is fetched again from where it is.
        if (!isElsewhere || this.#isClosed || this.#files.has(from)) return
        await assertNoGateway(this.place.disk, dirname(from))
        await removeFiles(this.place.disk, [from, configPath(from)])
      })
      .catch((error: unknown) => {
        this.#log.warn({ path: from, message: asError(error).message }, 'a source file stays')
      })
  }
}

function isMismatch(error: unknown): boolean {
  return error instanceof ImageError && error.reason === 'checksum_mismatch'
}

/** Now: later it would only be found out when all bytes have come. */
function assertChecksum(text: string): void {
  if (text === '' || /^[0-9a-f]{128}$/.test(text)) return
  throw new ImageError(
    'invalid_argument',
    `the expected checksum ${JSON.stringify(text.slice(0, 140))} is no SHA-512: 128 lower-case hex digits ` +
      'are expected',
  )
}

/** Throws unless Longhorn could use a file of that size (contract §3.5). */
export function assertSize(sizeBytes: number, what: string): void {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes % sectorBytes === 0) return
  throw new ImageError(
    'invalid_argument',
    `${what} ${sizeBytes} should be a multiple of ${sectorBytes} bytes since Longhorn uses directIO ` +
      'by default',
  )
}
