// Unpacks bzip2 as a stream, every check of it made. The format has no standard; its author's program
// and its documentation by others agree on what is here: blocks of bits that are Huffman codes of
// move-to-front indexes of a Burrows-Wheeler transform of run-lengths, each with a CRC.

import { Bits, HuffmanCode } from './bzip2-bits.ts'
import { unpackError } from '../compression.ts'

const outputBytes = 64 * 1024
const levelMax = 9
/** A block has at most so many bytes a level. */
const levelBytes = 100_000
/** Symbols that are coded with one code before the next is chosen. */
const groupSymbols = 50
/** Two symbols count runs; the others are indexes. */
const [runA, runB] = [0, 1]

function damaged(detail: string): Error {
  return unpackError('bzip2', 'damaged', detail)
}

/**
 * The unpacked bytes of all streams that follow each other in `packed`, in chunks that are valid until
 * the next is asked for. Memory: 4 MB, whatever comes.
 */
export function* unpackBzip2(packed: Iterable<Uint8Array>): Generator<Uint8Array, void, undefined> {
  const bits = new Bits(packed)
  const block = new Block()
  const output = new Uint8Array(outputBytes)
  do {
    if (bits.read(24) !== 0x425a68) throw damaged('no stream begins here')
    const level = bits.read(8) - 0x30
    if (level < 1 || level > levelMax) throw damaged('the level is none')
    let checksum = 0
    while (isBlockNext(bits)) {
      const expected = bits.read32()
      block.load(bits, level * levelBytes)
      for (let length = block.read(output); length > 0; length = block.read(output)) {
        yield output.subarray(0, length)
      }
      if (block.checksum !== expected) throw damaged('the CRC of a block differs')
      checksum = (((checksum << 1) | (checksum >>> 31)) ^ expected) >>> 0
    }
    if (bits.read32() !== checksum) throw damaged('the CRC of a stream differs')
    bits.align()
  } while (!bits.isAtEnd())
}

/** The digits of π begin a block, those of its root the end of a stream. */
function isBlockNext(bits: Bits): boolean {
  const [first, second] = [bits.read(24), bits.read(24)]
  if (first === 0x314159 && second === 0x265359) return true
  if (first === 0x177245 && second === 0x385090) return false
  throw damaged('neither a block nor the end of one follows')
}

class Block {
  /** The transformed bytes in the lowest eight bits, and above them which one is next. */
  readonly #table = new Uint32Array(levelMax * levelBytes)
  #left = 0
  #next = 0
  /** The last byte, how often it has come in a row, and how often it is still to be repeated. */
  #last = -1
  #run = 0
  #copies = 0
  #crc = 0

  /** CRC-32 of what was read since `load`, with the bits of each byte in their own order. */
  get checksum(): number {
    return ~this.#crc >>> 0
  }

  /** Decodes the next block of the stream. */
  load(bits: Bits, lengthMax: number): void {
    if (bits.read(1) === 1) {
      throw unpackError(
        'bzip2',
        'unsupported',
        'comes from a bzip2 before 0.9.5, whose files are not read here. Nothing was stored: pack ' +
          'it anew with `bzip2 -dc FILE | bzip2 > NEW`.',
      )
    }
    const origin = bits.read(24)
    const values = readValues(bits)
    const counts = new Uint32Array(256)
    this.#left = this.#decode(bits, { values, counts, lengthMax })
    if (origin >= this.#left) throw damaged('the origin of a block is outside of it')
    this.#link(counts)
    this.#next = (this.#table[origin] ?? 0) >>> 8
    this.#last = -1
    this.#run = 0
    this.#copies = 0
    this.#crc = 0xffffffff
  }

  /** Fills the table with the transformed bytes and counts each value; returns how many came. */
  #decode(
    bits: Bits,
    { values, counts, lengthMax }: { values: Uint8Array; counts: Uint32Array; lengthMax: number },
  ): number {
    const table = this.#table
    const end = values.length + 1
    const codes = readCodes(bits, values.length + 2)
    // Indexes are moved to the front, and with them what they stand for.
    const recent = Uint8Array.from(values)
    let length = 0
    let run = 0
    let runWeight = 1
    let symbolsLeft = 0
    let code: HuffmanCode | undefined
    for (;;) {
      if (symbolsLeft === 0) {
        symbolsLeft = groupSymbols
        code = codes.next().value
      }
      if (!code) throw damaged('a block has more symbols than codes')
      symbolsLeft -= 1
      const symbol = code.read(bits)
      if (symbol === runA || symbol === runB) {
        // Bijective base two: each place counts one or two times its weight.
        run += runWeight << symbol
        runWeight *= 2
        // Also what keeps the weight from growing over all numbers.
        if (length + run > lengthMax) throw damaged('a block is longer than its level')
        continue
      }
      if (run > 0) {
        const value = recent[0] ?? 0
        table.fill(value, length, length + run)
        counts[value] = (counts[value] ?? 0) + run
        length += run
        run = 0
        runWeight = 1
      }
      if (symbol === end) return length
      if (length === lengthMax) throw damaged('a block is longer than its level')
      const index = symbol - 1
      const value = recent[index] ?? 0
      recent.copyWithin(1, 0, index)
      recent[0] = value
      table[length++] = value
      counts[value] = (counts[value] ?? 0) + 1
    }
  }

  /** Undoes the transform: each byte is followed by that which its place in sorted order tells. */
  #link(counts: Uint32Array): void {
    const table = this.#table
    let sum = 0
    for (let value = 0; value < 256; value++) {
      const count = counts[value] ?? 0
      counts[value] = sum
      sum += count
    }
    for (let index = 0; index < this.#left; index++) {
      const value = (table[index] ?? 0) & 0xff
      const place = counts[value] ?? 0
      counts[value] = place + 1
      table[place] = (table[place] ?? 0) | (index << 8)
    }
  }

  /** Puts the next bytes of the block into `output`; 0 when there are no more. */
  read(output: Uint8Array): number {
    const table = this.#table
    let [left, next, last, run, crc] = [this.#left, this.#next, this.#last, this.#run, this.#crc]
    let copies = this.#copies
    let used = 0
    while (used < output.length) {
      if (copies > 0) {
        copies -= 1
      } else {
        if (left === 0) break
        const entry = table[next] ?? 0
        left -= 1
        next = entry >>> 8
        const value = entry & 0xff
        if (run === 4) {
          // After four equal bytes comes how many more of them there are.
          run = 0
          copies = value
          continue
        }
        run = value === last ? run + 1 : 1
        last = value
      }
      output[used++] = last
      crc = (crc << 8) ^ (crcTable[(crc >>> 24) ^ last] ?? 0)
    }
    this.#left = left
    this.#next = next
    this.#last = last
    this.#run = run
    this.#crc = crc
    this.#copies = copies
    return used
  }
}

/** Which bytes a block has, in rising order: sixteen ranges, and what is in those that are there. */
function readValues(bits: Bits): Uint8Array {
  const ranges = bits.read(16)
  const values: number[] = []
  for (let range = 0; range < 16; range++) {
    if (((ranges >>> (15 - range)) & 1) === 0) continue
    const members = bits.read(16)
    for (let member = 0; member < 16; member++) {
      if (((members >>> (15 - member)) & 1) === 1) values.push(range * 16 + member)
    }
  }
  if (values.length === 0) throw damaged('a block has no bytes')
  return Uint8Array.from(values)
}

/** The codes of a block in the order in which they are used, one a group of symbols. */
function* readCodes(bits: Bits, symbols: number): Generator<HuffmanCode, undefined, undefined> {
  const count = bits.read(3)
  const groups = bits.read(15)
  if (count < 2 || count > 6 || groups === 0) throw damaged('a block has no codes')
  const recent = Uint8Array.from({ length: count }, (_, index) => index)
  const order = new Uint8Array(groups)
  for (let group = 0; group < groups; group++) {
    let index = 0
    while (bits.read(1) === 1) {
      index += 1
      if (index >= count) throw damaged('a code is named that is not there')
    }
    const chosen = recent[index] ?? 0
    recent.copyWithin(1, 0, index)
    recent[0] = chosen
    order[group] = chosen
  }
  const codes = Array.from({ length: count }, () => new HuffmanCode(bits, symbols))
  for (const chosen of order) yield codes[chosen] as HuffmanCode
  return undefined
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? 0x04c11db7 : 0)
  return crc >>> 0
})
