// LZ4 frames (lz4_Frame_format.md), as blocks of backups are stored: both directions, over buffers in
// memory. Whatever comes in, what comes out has a limit.

import { ImageError } from '@backing-image/core'
import { xxHash32 } from './xx-hash.ts'

const magic = 0x184d2204
const version = 0b01_00_00_00
const isIndependent = 0b10_00_00
const hasBlockChecksum = 0b01_00_00
const hasContentSize = 0b00_10_00
const hasContentChecksum = 0b00_01_00
const hasDictionary = 0b00_00_01
/** Blocks of up to 4 MiB. */
const largestBlocks = 0x70
const blockBytesMax = 4 * 1024 * 1024
const isStored = 0x8000_0000

const matchBytesMin = 4
/** A match ends so many bytes before the end of a block, and none begins within the last twelve. */
const lastLiterals = 5
const lastMatchBegins = 12
const distanceMax = 0xffff
const tableBits = 16
/** The longer nothing matches, the larger the steps. */
const skipBits = 6
/** From here on the runtime copies faster than a loop. */
const callBytes = 64

export function isLz4(bytes: Uint8Array): boolean {
  return bytes.length >= 7 && viewOf(bytes).getUint32(0, true) === magic
}

/** One frame with all of `plain`, which has at most 4 MiB. */
export function compressLz4(plain: Uint8Array): Uint8Array {
  if (plain.length > blockBytesMax) throw new RangeError('An lz4 block has at most 4 MiB.')
  const frame = new Uint8Array(plain.length + 32)
  const view = viewOf(frame)
  view.setUint32(0, magic, true)
  frame[4] = version | isIndependent | hasContentChecksum
  frame[5] = largestBlocks
  frame[6] = (xxHash32(frame.subarray(4, 6)) >>> 8) & 0xff
  let end = 7
  if (plain.length > 0) {
    const packedBytes = compressBlock(plain, frame.subarray(11, 11 + plain.length))
    if (packedBytes === undefined) frame.set(plain, 11)
    const sizeBytes = packedBytes ?? plain.length
    view.setUint32(7, packedBytes === undefined ? (sizeBytes | isStored) >>> 0 : sizeBytes, true)
    end = 11 + sizeBytes
  }
  view.setUint32(end, 0, true)
  view.setUint32(end + 4, xxHash32(plain), true)
  return frame.subarray(0, end + 8)
}

/** Undefined when it would not fit into `out`. */
function compressBlock(plain: Uint8Array, out: Uint8Array): number | undefined {
  const table = new Int32Array(1 << tableBits).fill(-1)
  const view = viewOf(plain)
  const beginMax = plain.length - lastMatchBegins
  const writer = new Sequences(plain, out)
  let misses = 1 << skipBits
  for (let at = 0; at <= beginMax;) {
    const word = view.getUint32(at, true)
    const slot = Math.imul(word, 2_654_435_761) >>> (32 - tableBits)
    const candidate = table[slot] ?? -1
    table[slot] = at
    const fits = candidate >= 0 && at - candidate <= distanceMax
    if (!fits || view.getUint32(candidate, true) !== word) {
      at += misses++ >>> skipBits
      continue
    }
    misses = 1 << skipBits
    let length = matchBytesMin
    const lengthMax = plain.length - lastLiterals - at
    while (length < lengthMax && plain[candidate + length] === plain[at + length]) length += 1
    if (!writer.write(at, at - candidate, length)) return undefined
    at += length
  }
  return writer.finish()
}

/** Writes literals and matches, in turns. */
class Sequences {
  readonly #plain: Uint8Array
  readonly #out: Uint8Array
  #written = 0
  #done = 0

  constructor(plain: Uint8Array, out: Uint8Array) {
    this.#plain = plain
    this.#out = out
  }

  /** All up to `at`, then a match there. False when there is no room. */
  write(at: number, distance: number, length: number): boolean {
    const room = this.#out.length - this.#written
    const more = length - matchBytesMin
    if (room < at - this.#done + (at - this.#done) / 255 + more / 255 + 8) return false
    const token = this.#literals(at)
    this.#out[this.#written++] = distance & 0xff
    this.#out[this.#written++] = distance >>> 8
    this.#out[token] = (this.#out[token] ?? 0) | Math.min(15, more)
    if (more >= 15) this.#length(more - 15)
    this.#done = at + length
    return true
  }

  finish(): number | undefined {
    const left = this.#plain.length - this.#done
    if (this.#out.length - this.#written < left + left / 255 + 8) return undefined
    this.#literals(this.#plain.length)
    return this.#written
  }

  #literals(until: number): number {
    const token = this.#written++
    const count = until - this.#done
    this.#out[token] = Math.min(15, count) << 4
    if (count >= 15) this.#length(count - 15)
    copyBytes(this.#plain, this.#done, this.#out, this.#written, count)
    this.#written += count
    return token
  }

  #length(more: number): void {
    let left = more
    for (; left >= 255; left -= 255) this.#out[this.#written++] = 255
    this.#out[this.#written++] = left
  }
}

/** The bytes of a frame that has at most `bytesMax`. Throws `data_loss` for anything else. */
export function decompressLz4(frame: Uint8Array, bytesMax: number): Uint8Array<ArrayBuffer> {
  if (!isLz4(frame)) throw damaged('it does not begin as one')
  const view = viewOf(frame)
  const [flags = 0, sizes = 0] = frame.subarray(4, 6)
  if ((flags & 0b1100_0000) !== version) throw damaged(`its version is ${flags >>> 6}`)
  if ((flags & hasDictionary) !== 0) throw damaged('it needs a dictionary')
  const headEnd = 6 + ((flags & hasContentSize) === 0 ? 0 : 8)
  if (frame.length < headEnd + 1) throw damaged('it ends within its head')
  const headChecksum = (xxHash32(frame.subarray(4, headEnd)) >>> 8) & 0xff
  if (frame[headEnd] !== headChecksum) throw damaged('the checksum of its head is wrong')
  const blockMax = 1 << (8 + 2 * ((sizes >>> 4) & 7))
  const out = new Uint8Array(bytesMax)
  let length = 0
  let at = headEnd + 1
  for (;;) {
    if (frame.length < at + 4) throw damaged('it ends between its blocks')
    const word = view.getUint32(at, true)
    at += 4
    if (word === 0) break
    const sizeBytes = word & 0x7fff_ffff
    const block = frame.subarray(at, at + sizeBytes)
    const checksumBytes = (flags & hasBlockChecksum) === 0 ? 0 : 4
    at += sizeBytes + checksumBytes
    if (sizeBytes > blockMax || frame.length < at) throw damaged('it ends within a block')
    if (checksumBytes > 0 && view.getUint32(at - 4, true) !== xxHash32(block)) {
      throw damaged('the checksum of a block is wrong')
    }
    const limit = Math.min(bytesMax, length + blockMax)
    length = (word & isStored) === 0 ? unpack(block, out, length, limit) : copy(block, out, length)
  }
  if ((flags & hasContentChecksum) !== 0) {
    if (frame.length < at + 4) throw damaged('it ends within its last checksum')
    const isRight = view.getUint32(at, true) === xxHash32(out.subarray(0, length))
    if (!isRight) throw damaged('the checksum of its content is wrong')
    at += 4
  }
  if (at !== frame.length) throw damaged('something follows its end')
  return out.subarray(0, length)
}

/** Most are short, where a call takes longer than the bytes. */
function copyBytes(
  from: Uint8Array,
  fromAt: number,
  to: Uint8Array,
  toAt: number,
  count: number,
): void {
  if (count > callBytes) to.set(from.subarray(fromAt, fromAt + count), toAt)
  else
    for (let index = 0; index < count; index += 1) to[toAt + index] = from[fromAt + index] as number
}

function copy(block: Uint8Array, out: Uint8Array, length: number): number {
  if (length + block.length > out.length) throw damaged('it holds more than is expected')
  out.set(block, length)
  return length + block.length
}

/** Appends the content of one block. What stands before may be referred to. */
function unpack(block: Uint8Array, out: Uint8Array, begin: number, limit: number): number {
  let at = 0
  let length = begin
  const more = (first: number): number => {
    if (first < 15) return first
    let count = first
    for (let byte = 255; byte === 255; count += byte) {
      if (at >= block.length) throw damaged('it ends within a length')
      byte = block[at++] ?? 0
    }
    return count
  }
  while (at < block.length) {
    const token = block[at++] ?? 0
    const literals = more(token >>> 4)
    if (at + literals > block.length) throw damaged('it ends within literals')
    if (length + literals > limit) throw damaged('it holds more than is expected')
    copyBytes(block, at, out, length, literals)
    at += literals
    length += literals
    if (at === block.length) break
    if (at + 2 > block.length) throw damaged('it ends within a distance')
    const distance = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8)
    at += 2
    const matched = more(token & 15) + matchBytesMin
    if (distance === 0 || distance > length) throw damaged('it refers to what is not there')
    if (length + matched > limit) throw damaged('it holds more than is expected')
    if (matched > callBytes && distance >= matched) {
      out.copyWithin(length, length - distance, length - distance + matched)
    } else {
      // What it refers to may be made while it is copied.
      for (let to = length, from = length - distance; to < length + matched; to += 1, from += 1) {
        out[to] = out[from] as number
      }
    }
    length += matched
  }
  return length
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function damaged(why: string): ImageError {
  return new ImageError('data_loss', `This is no sound lz4 frame: ${why}.`)
}
