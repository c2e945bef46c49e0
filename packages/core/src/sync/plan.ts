// Where each block of another manager's image is best taken from: nowhere, since it is all zeros; from
// an image that this store has already; or over the wire.

import { createHash } from 'node:crypto'

/** Of a block index: how much of an image one hash stands for. Only the last block may be shorter. */
export const blockBytes: number = 4 * 1024 * 1024
/** A block in an index: its SHA-256, and a byte that is 1 when it is all zeros. */
export const entryBytes = 33
const hashBytes = 32

/** A stretch of the image, from the byte `start` to the one before `end`. */
export type Run = { start: number; end: number } & (Zero | Own | Wire)

/** Zeros, of any length. */
export interface Zero {
  kind: 'zero'
}

/** A block, or the rest of one, that the object `key` has: the block begins there at `at`. */
export interface Own {
  kind: 'own'
  key: string
  at: number
  /** SHA-256 of the block. */
  hash: Uint8Array
}

/** The same that must be fetched; without a hash where the source gives no index. */
export interface Wire {
  kind: 'wire'
  hash?: Uint8Array
}

const nowhere = -1
const inZeros = -2

export class Plan {
  readonly #size: number
  readonly #index: Uint8Array | undefined
  /** For each block: `nowhere`, `inZeros`, or which of the keys has it. */
  readonly #sources: Int32Array
  /** Which block of that object it is. */
  readonly #blocks: Int32Array
  readonly #keys: string[] = []
  /** By their hash the blocks that have not been found: the last one of each. */
  readonly #wanted = new Map<string, number>()
  /** For each block the one before it with the same hash. */
  readonly #before: Int32Array

  /** Without an index, whose length must fit the size, everything comes over the wire. */
  constructor(size: number, index?: Uint8Array) {
    const count = blocksOf(size)
    this.#size = size
    this.#index = index
    this.#sources = new Int32Array(count).fill(nowhere)
    this.#blocks = new Int32Array(count)
    this.#before = new Int32Array(count).fill(nowhere)
    if (index) this.#want(index, count)
  }

  /** Whether there is a block that could still be found here. */
  get isWanting(): boolean {
    return this.#wanted.size > 0
  }

  /** Finds what it can in an object of the own store, by that object's index. */
  hold(key: string, index: Uint8Array): void {
    const source = this.#keys.push(key) - 1
    for (let block = 0; (block + 1) * entryBytes <= index.length; block++) {
      const hash = textOf(hashAt(index, block))
      let wanted = this.#wanted.get(hash) ?? nowhere
      this.#wanted.delete(hash)
      for (; wanted !== nowhere; wanted = this.#before[wanted] ?? nowhere) {
        this.#sources[wanted] = source
        this.#blocks[wanted] = block
      }
    }
  }

  /** Everything from the byte `offset` on, in order. */
  *runs(offset: number = 0): Generator<Run, void, undefined> {
    const sources = this.#sources
    for (let block = Math.floor(offset / blockBytes); block < sources.length; block++) {
      const start = Math.max(offset, block * blockBytes)
      if (start >= this.#size) return
      while (sources[block] === inZeros && sources[block + 1] === inZeros) block += 1
      const end = Math.min((block + 1) * blockBytes, this.#size)
      yield { start, end, ...this.#sourceOf(block) }
    }
  }

  #want(index: Uint8Array, count: number): void {
    const last = count - 1
    const zeros = textOf(hashOfZeros(blockBytes))
    const lastZeros = textOf(hashOfZeros(this.#size - last * blockBytes))
    for (let block = 0; block < count; block++) {
      const hash = textOf(hashAt(index, block))
      // Told by the hash alone: it is also what the bytes are held against.
      if (hash === (block === last ? lastZeros : zeros)) {
        this.#sources[block] = inZeros
        continue
      }
      this.#before[block] = this.#wanted.get(hash) ?? nowhere
      this.#wanted.set(hash, block)
    }
  }

  #sourceOf(block: number): Zero | Own | Wire {
    const source = this.#sources[block] ?? nowhere
    if (source === inZeros) return { kind: 'zero' }
    if (!this.#index) return { kind: 'wire' }
    const hash = hashAt(this.#index, block)
    const key = this.#keys[source]
    if (key === undefined) return { kind: 'wire', hash }
    return { kind: 'own', key, at: (this.#blocks[block] ?? 0) * blockBytes, hash }
  }
}

/** How many blocks an image of that size has. */
export function blocksOf(size: number): number {
  return Math.ceil(size / blockBytes)
}

/** The first byte of the block that `position` is in. */
export function blockStart(position: number): number {
  return position - (position % blockBytes)
}

function hashAt(index: Uint8Array, block: number): Uint8Array {
  return index.subarray(block * entryBytes, block * entryBytes + hashBytes)
}

/** As a key of a map. */
function textOf({ buffer, byteOffset, length }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, length).toString('latin1')
}

function hashOfZeros(length: number): Uint8Array {
  return createHash('sha256').update(Buffer.alloc(length)).digest()
}
