// Bytes into one fresh file: zero blocks become holes, the rest is written in large runs, past the
// page cache where memory and medium allow it, and every 64 MiB goes to the medium in the background,
// so that one long sync at the end starves nobody.

import { ImageError } from '@backing-image/core'
import { type OpenFile, errnoOf } from './disk.ts'

/** The unit of a hole: the block of every common file system. */
const blockBytes = 4096
/** So much is written between two syncs, and between two looks at the free space. */
export const syncEveryBytes: number = 64 * 1024 * 1024
/**
 * Holes cost no writing, but who goes on with the file has to get them again: so many times as much is
 * synced, too, where somebody wants to know what is durable.
 */
const holesFactor = 8
const zeros = Buffer.alloc(1024 * 1024)

function isZero(chunk: Uint8Array, start: number, end: number): boolean {
  // Eight bytes tell nearly every data block apart from zeros without the call.
  for (let at = start; at < end && at < start + 8; at += 1) if (chunk[at] !== 0) return false
  return zeros.compare(chunk, start, end, 0, end - start) === 0
}

/**
 * The parts of a chunk that hold data, as [start, end), where the chunk will stand at `position` of
 * the file. Blocks are counted from the start of the file; neighbours with data come as one.
 */
export function* dataRuns(chunk: Uint8Array, position: number): Generator<[number, number]> {
  // One memory compare settles the usual sparse case.
  if (chunk.length <= zeros.length && isZero(chunk, 0, chunk.length)) return
  let runStart = -1
  for (let start = 0; start < chunk.length;) {
    const end = Math.min(chunk.length, start + blockBytes - ((position + start) % blockBytes))
    if (!isZero(chunk, start, end)) {
      if (runStart < 0) runStart = start
    } else if (runStart >= 0) {
      yield [runStart, start]
      runStart = -1
    }
    start = end
  }
  if (runStart >= 0) yield [runStart, chunk.length]
}

/**
 * Direct writes want whole blocks in memory and file alike. Where memory begins can not be asked; that
 * of an ingest is shared and begins on a page, all other is taken for unaligned.
 */
function mayBeDirect(data: Uint8Array, position: number): boolean {
  const isAligned = data.byteOffset % blockBytes === 0 && position % blockBytes === 0
  return isAligned && data.buffer instanceof SharedArrayBuffer
}

export interface WriterOptions {
  /** How much is written between two syncs; 64 MiB unless a test wants less. */
  syncEveryBytes?: number | undefined
  /**
   * Told that so many bytes from the beginning have reached the medium, and that the file is as long,
   * so that one which lost its end is not taken for one that ends in a hole. What it throws fails the
   * sync.
   */
  onSynced?: ((lengthBytes: number) => Promise<void>) | undefined
}

/** Fills one new, empty file. One append at a time; after a failure only `settle` and `finish`. */
export class Writer {
  /** How many bytes were appended. */
  length = 0
  readonly #file: OpenFile
  /** The same file without the page cache: to copy an image there costs more than to write it. */
  #direct: OpenFile | undefined
  #dataEnd = 0
  #unsyncedBytes = 0
  #syncedLength = 0
  #sync: Promise<void> | undefined
  readonly #syncEveryBytes: number
  readonly #onSynced: WriterOptions['onSynced']

  constructor(file: OpenFile, options: WriterOptions = {}) {
    this.#file = file
    this.#syncEveryBytes = options.syncEveryBytes ?? syncEveryBytes
    this.#onSynced = options.onSynced
  }

  /** From now on whole blocks go through a second handle, opened with O_DIRECT. */
  writeDirectly(file: OpenFile): void {
    this.#direct = file
  }

  /** When it resolves, nothing reads the chunk any more. */
  async append(chunk: Uint8Array): Promise<void> {
    await this.writeAt(chunk, this.length)
  }

  /**
   * As `append`, at any place of the file; several at a time, of which none meets another's place. Its
   * zeros are taken to be there: where something else was written before, `isOver` writes them too.
   */
  async writeAt(chunk: Uint8Array, position: number, isOver: boolean = false): Promise<void> {
    for (const [start, end] of isOver ? [[0, chunk.length] as const] : dataRuns(chunk, position)) {
      await this.#write(chunk.subarray(start, end), position + start)
    }
    this.length = Math.max(this.length, position + chunk.length)
    while (this.#isSyncDue()) {
      // At most one sync is under way: a slow medium slows the source instead of filling memory.
      const before = this.#sync
      await before
      if (this.#onSynced) await this.#reachLength()
      if (this.#sync !== before) continue
      this.#beginSync()
      // Its failure is seen when it is awaited, here or in `finish`.
      this.#sync?.catch(() => {})
    }
  }

  /** The file has so many bytes at least: what is not written of them are zeros. */
  reach(lengthBytes: number): void {
    this.length = Math.max(this.length, lengthBytes)
  }

  #isSyncDue(): boolean {
    if (this.#unsyncedBytes >= this.#syncEveryBytes) return true
    const mostBytes = this.#onSynced ? holesFactor * this.#syncEveryBytes : Infinity
    return this.length - this.#syncedLength >= mostBytes
  }

  /** The file is as long as what was appended, also where that ends in a hole. */
  async #reachLength(): Promise<void> {
    if (this.#dataEnd < this.length) await this.#file.truncate(this.length)
    this.#dataEnd = this.length
  }

  #beginSync(): void {
    const { length } = this
    this.#unsyncedBytes = 0
    this.#syncedLength = length
    this.#sync = this.#file.datasync().then(() => this.#onSynced?.(length))
  }

  async #write(data: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < data.length;) {
      const written = await this.#writeSome(data.subarray(done), position + done)
      if (written === 0) throw new ImageError('unavailable', 'The medium takes no more bytes.')
      done += written
    }
    this.#dataEnd = Math.max(this.#dataEnd, position + data.length)
    this.#unsyncedBytes += data.length
  }

  async #writeSome(data: Uint8Array, position: number): Promise<number> {
    const wholeBytes = data.length - (data.length % blockBytes)
    if (this.#direct && wholeBytes > 0 && mayBeDirect(data, position)) {
      try {
        return await this.#direct.write(data.subarray(0, wholeBytes), position)
      } catch (error) {
        // This memory, or this medium, is not for direct writes after all.
        if (errnoOf(error) !== 'EINVAL') throw error
        this.#direct = undefined
      }
    }
    return await this.#file.write(data, position)
  }

  /**
   * All bytes are on the medium when it resolves; a length that ends in a hole too. After a failed
   * write that is so for all chunks before it.
   */
  async finish(): Promise<void> {
    // A sync that failed is never tried again: the kernel forgets the pages it could not write, and
    // the next sync would succeed without them.
    await this.#sync
    await this.#reachLength()
    this.#beginSync()
    await this.#sync
  }

  /** Resolves when no call on the file is under way, however it ended. Never rejects. */
  async settle(): Promise<void> {
    await this.#sync?.catch(() => {})
  }
}
