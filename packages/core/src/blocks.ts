// The block index of an image: for each 4 MiB of it the SHA-256, and whether it is all zeros. Who has a
// part of an image already sees by it which blocks to ask for.

import { type Hash, createHash } from 'node:crypto'
import { ImageError } from './errors.ts'

/** How long a block is; the last one of an image may be shorter. */
export const blockBytes: number = 4 * 1024 * 1024
/** Of the form that is kept: the SHA-256, then one byte, 1 where all is zeros, else 0. */
export const blockEntryBytes = 33
const digestBytes = 32

/** How many blocks an image of `size` bytes has. */
export function blockCount(size: number): number {
  return Math.ceil(size / blockBytes)
}

const fullOfZeros = Buffer.from(
  'bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8',
  'hex',
)
const zeros = Buffer.alloc(1024 * 1024)

function isAllZeros(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length)
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) return false
  }
  return true
}

function hashOfZeros(length: number): Hash {
  const hash = createHash('sha256')
  for (let left = length; left > 0; left -= zeros.length) {
    hash.update(zeros.subarray(0, Math.min(left, zeros.length)))
  }
  return hash
}

function digestOfZeros(length: number): Buffer {
  return length === blockBytes ? fullOfZeros : hashOfZeros(length).digest()
}

/** A part of an index: so many blocks, from block `first` on. */
export interface BlockPart {
  first: number
  count: number
}

/** The index of one image, or a part of it. */
export class BlockIndex {
  /** Of the image, in bytes. */
  readonly size: number
  /** The blocks that it tells of. */
  readonly first: number
  readonly count: number
  readonly #content: Buffer

  private constructor(content: Uint8Array, size: number, { first, count }: BlockPart) {
    this.size = size
    this.first = first
    this.count = count
    this.#content = Buffer.from(content.buffer, content.byteOffset, content.length)
  }

  /**
   * Reads what `content` holds, of an image of `size` bytes; it must not be changed afterwards. What
   * can not be the index of such an image is `data_loss`.
   */
  static parse(content: Uint8Array, size: number, part?: BlockPart): BlockIndex {
    const { first, count } = part ?? { first: 0, count: blockCount(size) }
    if (content.length !== count * blockEntryBytes) {
      throw new ImageError(
        'data_loss',
        `A block index of ${content.length} bytes is not one of ${count} blocks: ` +
          `${count * blockEntryBytes} bytes are expected. The image can be read without it.`,
      )
    }
    const index = new BlockIndex(content, size, { first, count })
    for (let block = first; block < first + count; block++) index.#assertEntry(block)
    return index
  }

  /** The first byte of a block, in the image. */
  offset(block: number): number {
    return block * blockBytes
  }

  /** How many bytes a block has. */
  length(block: number): number {
    return Math.min(blockBytes, this.size - block * blockBytes)
  }

  /** The SHA-256 of a block as hex. */
  sha256(block: number): string {
    return this.#digest(block).toString('hex')
  }

  isZero(block: number): boolean {
    return this.#content[this.#at(block) + digestBytes] === 1
  }

  /** Whether `bytes` are those of a block. */
  isGood(block: number, bytes: Uint8Array): boolean {
    if (bytes.length !== this.length(block)) return false
    if (this.isZero(block)) return isAllZeros(bytes)
    return createHash('sha256').update(bytes).digest().equals(this.#digest(block))
  }

  /** The form that is kept; a view of the same memory. */
  format(): Uint8Array {
    return this.#content
  }

  #digest(block: number): Buffer {
    const at = this.#at(block)
    return this.#content.subarray(at, at + digestBytes)
  }

  #at(block: number): number {
    const place = block - this.first
    if (!Number.isSafeInteger(place) || place < 0 || place >= this.count) {
      throw new ImageError('internal', `Block ${block} is not in this part of an index.`)
    }
    return place * blockEntryBytes
  }

  #assertEntry(block: number): void {
    const flag = this.#content[this.#at(block) + digestBytes] ?? 0
    const isGood =
      flag === 0 || (flag === 1 && this.#digest(block).equals(digestOfZeros(this.length(block))))
    if (isGood) return
    throw new ImageError(
      'data_loss',
      `Block ${block} of a block index is called all zeros, but has not their SHA-256. ` +
        'The image can be read without its index.',
    )
  }
}

/** Makes the index of one stream, in whatever chunks it comes. */
export class BlockHash {
  /** Grows with the stream: 33 bytes for 4 MiB, so that 2 TiB take 17 MB. */
  #entries = Buffer.alloc(64 * blockEntryBytes)
  #count = 0
  /** Bytes of the block that is not full yet. */
  #filled = 0
  /** Absent as long as that block is all zeros, whose digest is known. */
  #hash: Hash | undefined

  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + blockBytes - this.#filled)
      if (!this.#hash && !isAllZeros(part)) this.#hash = hashOfZeros(this.#filled)
      this.#hash?.update(part)
      this.#filled += part.length
      at += part.length
      if (this.#filled === blockBytes) this.#close()
    }
  }

  /** The whole index in the form that is kept, in memory of its own; nothing may come after. */
  digest(): Uint8Array {
    if (this.#filled > 0) this.#close()
    return Uint8Array.from(this.#entries.subarray(0, this.#count * blockEntryBytes))
  }

  #close(): void {
    const at = this.#count * blockEntryBytes
    if (at === this.#entries.length) {
      this.#entries = Buffer.concat([this.#entries], 2 * this.#entries.length)
    }
    const digest = this.#hash ? this.#hash.digest() : digestOfZeros(this.#filled)
    this.#entries.set(digest, at)
    this.#entries[at + digestBytes] = this.#hash ? 0 : 1
    this.#count += 1
    this.#filled = 0
    this.#hash = undefined
  }
}
