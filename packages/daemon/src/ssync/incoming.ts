// A file that comes in parts, in any order and several at a time: written where they belong, hashed on
// the way, durable before anybody is told so.

import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type GuardedDisk, Temporary } from '@backing-image/backend-local'
import { type Hasher, ImageError } from '@backing-image/core'
import { type Findings, Follower, readFully } from './follower.ts'
import { type Interval, Intervals } from './intervals.ts'
import { Refusal } from './refusal.ts'

/** Where a file goes, and who hashes it. */
export interface Destination {
  /** Of the file, which is not there yet; its folder is. */
  path: string
  root: string
  disk: GuardedDisk
  hasher: Hasher
}

/** A file that has come. */
export interface Received extends Findings {
  /** Sealed; the caller commits or discards it. */
  temporary: Temporary
  /** In bytes, as the sender told it when it began. */
  size: number
  /** For how many bytes neither data nor a hole came: they are zeros. */
  missingBytes: number
}

/** What one write to the disk has at most. */
const pieceBytes = 512 * 1024
/** ext4 has files of at most 16 TiB. */
const fileBytesMax = 64 * 1024 ** 4
/** A sender waits 5 s for an answer (contract §4.3): the disk must never have more than this before it. */
const syncEveryBytes = 16 * 1024 * 1024
/** What is written is remembered by blocks of so many bytes. */
const noteBytes = 16 * 1024 * 1024
const checkedBytesMax = 64 * 1024 * 1024
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
const zeros = Buffer.alloc(pieceBytes)

type OpenFile = Awaited<ReturnType<GuardedDisk['open']>>

export class IncomingFile {
  readonly size: number
  readonly #temporary: Temporary
  readonly #reader: OpenFile
  readonly #hasher: Hasher
  readonly #follower: Follower
  /** Where anything was written, or may have been. */
  readonly #begun = new Intervals()
  /** What has come. */
  readonly #covered = new Intervals()
  /** What a request brought that failed. */
  readonly #broken = new Intervals()
  /** The blocks that data was written to. */
  readonly #notes: Uint8Array
  /** Something was written twice: what was hashed may not be what is there. */
  #isStale = false
  readonly #buffers: Buffer[] = []
  #again: Follower | undefined

  private constructor(
    parts: { temporary: Temporary; reader: OpenFile; hasher: Hasher },
    size: number,
  ) {
    this.size = size
    this.#temporary = parts.temporary
    this.#reader = parts.reader
    this.#hasher = parts.hasher
    this.#follower = new Follower(parts.reader, size, parts.hasher)
    this.#notes = new Uint8Array(Math.ceil(size / noteBytes))
  }

  /** Rejects with `already_exists` where there is a file, with `invalid_argument` for a size that is none. */
  static async create(destination: Destination, size: number): Promise<IncomingFile> {
    if (size > fileBytesMax) {
      throw new ImageError(
        'invalid_argument',
        `A file of ${size} bytes is over the limit of ${fileBytesMax}.`,
        { reason: 'too_large' },
      )
    }
    const { path, root, disk, hasher } = destination
    const temporary = await Temporary.create({ disk, root, pathOf: () => path, syncEveryBytes })
    try {
      temporary.reach(size)
      const reader = await disk.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
      return new IncomingFile({ temporary, reader, hasher }, size)
    } catch (error) {
      await temporary.discard()
      throw error
    }
  }

  /** Rejects when it is certain that the file can not become whole: bad bytes, or a bad disk. */
  get findings(): Promise<Findings> {
    return this.#follower.findings
  }

  /**
   * Writes what comes from `begin` on. What comes may be less than the interval, and has to fit into it
   * and into the file: else a Refusal. Resolves when it is written.
   */
  async write(interval: Interval, body: AsyncIterable<Uint8Array>): Promise<void> {
    const limit = Math.min(interval.end, this.size)
    const buffer = this.#buffers.pop() ?? Buffer.allocUnsafeSlow(pieceBytes)
    let position = interval.begin
    let used = 0
    try {
      for await (const chunk of body) {
        assertFits(position + used + chunk.length, limit)
        for (let offset = 0; offset < chunk.length;) {
          const taken = Math.min(chunk.length - offset, pieceBytes - used)
          buffer.set(chunk.subarray(offset, offset + taken), used)
          offset += taken
          used += taken
          if (used < pieceBytes) continue
          await this.#put(buffer, position)
          position += used
          used = 0
        }
      }
      if (used > 0) await this.#put(buffer.subarray(0, used), position)
      // Not after a failure: what was left may still be reading it.
      this.#buffers.push(buffer)
    } catch (error) {
      this.#broken.add({ begin: position, end: limit })
      throw error
    }
  }

  async #put(piece: Buffer, position: number): Promise<void> {
    const part = { begin: position, end: position + piece.length }
    const isOver = this.#begun.nextFrom(part.begin) < part.end
    this.#isStale ||= isOver
    this.#begun.add(part)
    this.#notes.fill(1, Math.floor(part.begin / noteBytes), Math.ceil(part.end / noteBytes))
    await this.#temporary.writeAt(piece, position, isOver)
    this.#cover(part)
  }

  /** Zeros, which take no room unless data was here before. What is beyond the end is ignored. */
  async clear({ begin, end }: Interval): Promise<void> {
    const hole = { begin, end: Math.min(end, this.size) }
    if (hole.begin >= hole.end) return
    for (const part of this.#begun.within(hole)) await this.#erase(part)
    this.#begun.add(hole)
    this.#follower.skip(hole)
    this.#cover(hole)
  }

  async #erase({ begin, end }: Interval): Promise<void> {
    for (let position = begin; position < end;) {
      const block = Math.floor(position / noteBytes)
      const blockEnd = Math.min((block + 1) * noteBytes, end)
      for (; this.#notes[block] === 1 && position < blockEnd;) {
        this.#isStale = true
        const length = Math.min(zeros.length, blockEnd - position)
        await this.#temporary.writeAt(zeros.subarray(0, length), position, true)
        position += length
      }
      position = blockEnd
    }
  }

  #cover(part: Interval): void {
    this.#covered.add(part)
    this.#follower.reach(this.#covered.endAt(0))
  }

  /** The SHA-512 of what has come of an interval; undefined where not all has; a Refusal for too much. */
  async checksum({ begin, end }: Interval): Promise<Buffer | undefined> {
    const interval = { begin, end: Math.min(end, this.size) }
    if (begin >= interval.end || !this.#covered.covers(interval)) return undefined
    if (interval.end - begin > checkedBytesMax) {
      throw new Refusal(`A checksum is made of at most ${checkedBytesMax} bytes at a time.`)
    }
    const hash = createHash('sha512')
    const buffer = Buffer.allocUnsafe(pieceBytes)
    for (let position = begin; position < interval.end; position += pieceBytes) {
      const piece = buffer.subarray(0, Math.min(pieceBytes, interval.end - position))
      await readFully(this.#reader, piece, position)
      hash.update(piece)
    }
    return hash.digest()
  }

  /** Whether there is nothing that has not come. */
  get isWhole(): boolean {
    return this.#covered.covers({ begin: 0, end: this.size })
  }

  /**
   * All that has come is durable when it resolves, and what has not is zeros. Rejects with `cancelled`
   * where a part was lost on the way and did not come again. To be called when no write is under way.
   */
  async seal(): Promise<void> {
    for (const part of this.#broken.within({ begin: 0, end: this.size })) {
      for (const { begin, end } of this.#covered.gaps(part)) {
        throw new ImageError(
          'cancelled',
          `The bytes from ${begin} to ${end} were lost on the way, and the sender ended without sending ` +
            'them again. Nothing was stored: send the file again.',
          { reason: 'invalid_request' },
        )
      }
    }
    await this.#temporary.seal()
  }

  /** What has come, once it is sealed. */
  async result(): Promise<Received> {
    let missingBytes = 0
    for (const gap of this.#covered.gaps({ begin: 0, end: this.size })) {
      missingBytes += gap.end - gap.begin
      this.#follower.skip(gap)
      this.#cover(gap)
    }
    let findings = await this.#follower.findings
    if (this.#isStale) findings = await this.#findAgain()
    // Only read through it; and to close it twice might close another file.
    await this.#reader.close().catch(() => {})
    return { temporary: this.#temporary, size: this.size, missingBytes, ...findings }
  }

  async #findAgain(): Promise<Findings> {
    this.#again = new Follower(this.#reader, this.size, this.#hasher)
    this.#again.reach(this.size)
    return await this.#again.findings
  }

  /** Ends what is under way in the background. To be called before `discard`. */
  stop(error: unknown): void {
    this.#follower.stop(error)
    this.#again?.stop(error)
  }

  /** Leaves nothing behind. Never rejects. To be called when no write is under way. */
  async discard(): Promise<void> {
    await this.#follower.findings.catch(() => {})
    await this.#again?.findings.catch(() => {})
    await this.#reader.close().catch(() => {})
    await this.#temporary.discard()
  }
}

function assertFits(end: number, limit: number): void {
  if (end <= limit) return
  throw new Refusal(
    `More bytes came than fit: they would end at ${end}, the interval or the file does at ${limit}.`,
  )
}
