// The bits of a bzip2 stream and its Huffman codes, for bzip2.ts.

import { unpackError } from '../compression.ts'

/** The longest code that a stream may have. */
const codeBitsMax = 20
/** Codes up to this length, which most are, are found in one step. */
const shortBits = 10

/** Bytes that are read bit by bit, the highest bit first. */
export class Bits {
  readonly #source: Iterator<Uint8Array>
  #chunk: Uint8Array = new Uint8Array(0)
  #at = 0
  /** Bits that were taken out of the chunk and not yet read, in the lowest places. */
  #held = 0
  #heldCount = 0

  constructor(source: Iterable<Uint8Array>) {
    this.#source = source[Symbol.iterator]()
  }

  /** Up to 24 bits as a number. Throws when there are no more. */
  read(count: number): number {
    const bits = this.peek(count)
    this.skip(count)
    return bits
  }

  read32(): number {
    const high = this.read(16)
    return ((high << 16) | this.read(16)) >>> 0
  }

  /** The next bits, which stay. */
  peek(count: number): number {
    while (this.#heldCount < count) {
      if (this.#at === this.#chunk.length && !this.#refill()) throw unpackError('bzip2', 'cut', '')
      this.#held = (this.#held << 8) | (this.#chunk[this.#at++] ?? 0)
      this.#heldCount += 8
    }
    return (this.#held >>> (this.#heldCount - count)) & ((1 << count) - 1)
  }

  skip(count: number): void {
    this.#heldCount -= count
  }

  /** Leaves what is left of a byte. */
  align(): void {
    this.#heldCount -= this.#heldCount % 8
  }

  isAtEnd(): boolean {
    return this.#heldCount === 0 && this.#at === this.#chunk.length && !this.#refill()
  }

  #refill(): boolean {
    const { done, value } = this.#source.next()
    if (done) return false
    this.#chunk = value
    this.#at = 0
    return value.length > 0 || this.#refill()
  }
}

/** One canonical Huffman code. */
export class HuffmanCode {
  /** By the next `shortBits` bits: the symbol above the lowest five bits, its length in them. */
  readonly #short = new Uint16Array(1 << shortBits)
  /** The symbols in the order of their codes. */
  readonly #symbols: Uint16Array
  /** By length: one more than the last code of it, and what its codes are ahead of their places. */
  readonly #ends = new Int32Array(codeBitsMax + 1)
  readonly #leads = new Int32Array(codeBitsMax + 1)

  /** Reads the lengths of the codes of all symbols. */
  constructor(bits: Bits, symbols: number) {
    const lengths = new Uint8Array(symbols)
    let length = bits.read(5)
    for (let symbol = 0; symbol < symbols; symbol++) {
      for (;;) {
        if (length < 1 || length > codeBitsMax) throw noCode()
        if (bits.read(1) === 0) break
        length += bits.read(1) === 0 ? 1 : -1
      }
      lengths[symbol] = length
    }
    this.#symbols = new Uint16Array(symbols)
    let code = 0
    let place = 0
    for (length = 1; length <= codeBitsMax; length++) {
      this.#leads[length] = code - place
      for (let symbol = 0; symbol < symbols; symbol++) {
        if (lengths[symbol] !== length) continue
        if (length <= shortBits) {
          const first = code << (shortBits - length)
          this.#short.fill((symbol << 5) | length, first, first + (1 << (shortBits - length)))
        }
        this.#symbols[place++] = symbol
        code += 1
      }
      if (code > 2 ** length) throw noCode()
      this.#ends[length] = code
      code *= 2
    }
  }

  read(bits: Bits): number {
    // Behind the last code of a block there are 80 bits or more, so that this is never too far.
    const next = bits.peek(codeBitsMax)
    const short = this.#short[next >>> (codeBitsMax - shortBits)] ?? 0
    if (short > 0) {
      bits.skip(short & 31)
      return short >>> 5
    }
    for (let length = shortBits + 1; length <= codeBitsMax; length++) {
      const code = next >>> (codeBitsMax - length)
      if (code < (this.#ends[length] ?? 0)) {
        bits.skip(length)
        return this.#symbols[code - (this.#leads[length] ?? 0)] ?? 0
      }
    }
    throw noCode()
  }
}

function noCode(): Error {
  return unpackError('bzip2', 'damaged', 'a code is none')
}
