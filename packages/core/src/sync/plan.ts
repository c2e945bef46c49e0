// Where each block of another manager's image is best taken from: nowhere, since it is all zeros; from
// an image that this store has already; or over the wire.

import { type BlockIndex, blockBytes, blockCount } from '../blocks.ts'

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
  /** Of the whole block, in hex. */
  sha256: string
}

/** The same that must be fetched; of what it has to be nothing is known without an index. */
export interface Wire {
  kind: 'wire'
  sha256?: string
}

const nowhere = -1
const inZeros = -2

export class Plan {
  readonly #size: number
  readonly #index: BlockIndex | undefined
  /** For each block: `nowhere`, `inZeros`, or which of the keys has it. */
  readonly #sources: Int32Array
  /** Which block of that object it is. */
  readonly #blocks: Int32Array
  readonly #keys: string[] = []
  /** By their hash the blocks that have not been found: the last one of each. */
  readonly #wanted = new Map<string, number>()
  /** For each block the one before it with the same hash. */
  readonly #before: Int32Array

  /** `index` is that of the image; without it everything comes over the wire. */
  constructor(size: number, index?: BlockIndex) {
    const count = blockCount(size)
    this.#size = size
    this.#index = index
    this.#sources = new Int32Array(count).fill(nowhere)
    this.#blocks = new Int32Array(count)
    this.#before = new Int32Array(count).fill(nowhere)
    if (index) this.#want(index)
  }

  /** Whether there is a block that could still be found here. */
  get isWanting(): boolean {
    return this.#wanted.size > 0
  }

  /** Finds what it can in an object of the own store, by that object's index. */
  hold(key: string, index: BlockIndex): void {
    const source = this.#keys.push(key) - 1
    for (let block = 0; block < index.count; block++) {
      const hash = index.sha256(block)
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

  #want(index: BlockIndex): void {
    for (let block = 0; block < index.count; block++) {
      if (index.isZero(block)) {
        this.#sources[block] = inZeros
        continue
      }
      const hash = index.sha256(block)
      this.#before[block] = this.#wanted.get(hash) ?? nowhere
      this.#wanted.set(hash, block)
    }
  }

  #sourceOf(block: number): Zero | Own | Wire {
    const source = this.#sources[block] ?? nowhere
    if (source === inZeros) return { kind: 'zero' }
    if (!this.#index) return { kind: 'wire' }
    const sha256 = this.#index.sha256(block)
    const key = this.#keys[source]
    if (key === undefined) return { kind: 'wire', sha256 }
    return { kind: 'own', key, at: (this.#blocks[block] ?? 0) * blockBytes, sha256 }
  }
}

/** The first byte of the block that `position` is in. */
export function blockStart(position: number): number {
  return position - (position % blockBytes)
}
