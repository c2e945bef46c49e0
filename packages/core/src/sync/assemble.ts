// The bytes of a plan, in order: zeros out of nothing, blocks of the own store as long as they are what
// they should be, and the rest by several requests at a time.

import { webcrypto } from 'node:crypto'
import type { Bytes, Range } from '../backend.ts'
import { ImageError, asError, isImageError } from '../errors.ts'
import { type Own, type Plan, type Run, type Wire, blockStart } from './plan.ts'

export interface Assembling {
  plan: Plan
  /** The first byte that is wanted. */
  offset: number
  /** Reads an object of the own store. */
  readOwn: (key: string, range: Range, signal: AbortSignal) => Promise<Bytes>
  /** Fetches a part of the image, at most a block: all of it, or it throws. */
  fetch: (range: Range, signal: AbortSignal) => Promise<Block>
  signal: AbortSignal
  /** Told of an own object that has blocks of no use, once of each. */
  onTrouble: (error: Error) => void
}

/** The bytes of a block, or of a part of one. */
export type Block = Uint8Array<ArrayBuffer>

/** A part that is read into memory as a whole: at most a block. */
type Part = Run & (Own | Wire)

/** So many blocks are asked for at a time; one more may wait to be stored. */
const fetchesAtOnce = 4
/** Reading and checking the next one takes place while one is stored. */
const readsAtOnce = 2
/** A block that arrives wrong is asked for once more: the wire may have been at fault. */
const fetchTriesMax = 2
const zeros = new Uint8Array(1024 * 1024)

/**
 * The image from `offset` on. Each chunk is lent. Whoever leaves early by `return()` ends what is under
 * way. Throws `data_loss` for a block that is not what the index says of it.
 */
export function assemble(assembling: Assembling): AsyncIterableIterator<Uint8Array> {
  const leaving = new AbortController()
  const chunks = chunksOf(assembling, leaving)
  return {
    next: () => chunks.next(),
    // A generator that waits for its next chunk hears of its end only when that has come.
    return: async () => {
      leaving.abort(new ImageError('cancelled', 'Nobody reads on.'))
      await chunks.return().catch(() => {})
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
      return this
    },
  }
}

async function* chunksOf(
  assembling: Assembling,
  leaving: AbortController,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { plan, offset } = assembling
  const blocks = new Blocks(assembling, AbortSignal.any([assembling.signal, leaving.signal]))
  const wire = new Ahead(ofKind('wire', plan.runs(offset)), fetchesAtOnce, blocks)
  const own = new Ahead(ofKind('own', plan.runs(offset)), readsAtOnce, blocks)
  try {
    // What takes longest begins at once.
    wire.fill()
    for (const run of plan.runs(offset)) {
      if (run.kind === 'zero') yield* zerosOf(run.end - run.start)
      else yield await (run.kind === 'wire' ? wire : own).next()
    }
  } finally {
    leaving.abort()
  }
}

function* zerosOf(length: number): Generator<Uint8Array, void, undefined> {
  for (let left = length; left > 0; left -= zeros.length) yield zeros.subarray(0, left)
}

function* ofKind(kind: Part['kind'], runs: Iterable<Run>): Generator<Part, void, undefined> {
  for (const run of runs) {
    if (run.kind !== 'zero' && run.kind === kind) yield run
  }
}

/** Some parts of the image, the next few of them under way. */
class Ahead {
  readonly #parts: Iterator<Part>
  readonly #atOnce: number
  readonly #blocks: Blocks
  readonly #underWay: Promise<Block>[] = []

  constructor(parts: Iterator<Part>, atOnce: number, blocks: Blocks) {
    this.#parts = parts
    this.#atOnce = atOnce
    this.#blocks = blocks
  }

  fill(): void {
    while (this.#underWay.length < this.#atOnce) {
      const { done, value } = this.#parts.next()
      if (done) return
      const part = this.#blocks.read(value)
      // It is told when its turn comes.
      part.catch(() => {})
      this.#underWay.push(part)
    }
  }

  async next(): Promise<Block> {
    this.fill()
    const part = this.#underWay.shift()
    if (!part) throw new ImageError('internal', 'The plan of a sync has ended early.')
    const bytes = await part
    this.fill()
    return bytes
  }
}

/** Reads blocks from wherever they are, and checks them. */
class Blocks {
  readonly #assembling: Assembling
  readonly #signal: AbortSignal
  readonly #toldOf = new Set<string>()

  constructor(assembling: Assembling, signal: AbortSignal) {
    this.#assembling = assembling
    this.#signal = signal
  }

  async read(part: Part): Promise<Block> {
    return (part.kind === 'own' ? await this.#own(part) : undefined) ?? (await this.#fetch(part))
  }

  /** Undefined where the own store has lost it, or has it otherwise than it says. */
  async #own({ start, end, key, at, sha256 }: Run & Own): Promise<Block | undefined> {
    const { readOwn } = this.#assembling
    const length = end - blockStart(start)
    try {
      const bytes = await readOwn(key, { start: at, end: at + length - 1 }, this.#signal)
      const block = await collect(bytes, length)
      if (await isGood(block, sha256)) return block.subarray(start - blockStart(start))
      this.#tell(key, new ImageError('data_loss', `${key} is not what its block index says.`))
    } catch (error) {
      this.#signal.throwIfAborted()
      // Deleted meanwhile is no trouble.
      if (!isImageError(error, 'not_found')) this.#tell(key, asError(error))
    }
    return undefined
  }

  #tell(key: string, error: Error): void {
    if (!this.#toldOf.has(key)) this.#assembling.onTrouble(error)
    this.#toldOf.add(key)
  }

  async #fetch({ start, end, sha256 }: Part): Promise<Block> {
    const { fetch } = this.#assembling
    // Nothing tells whether a part is right: only the whole is checked.
    if (sha256 === undefined) return await fetch({ start, end: end - 1 }, this.#signal)
    const first = blockStart(start)
    for (let tries = 1; ; tries++) {
      const block = await fetch({ start: first, end: end - 1 }, this.#signal)
      if (await isGood(block, sha256)) return block.subarray(start - first)
      if (tries === fetchTriesMax) throw wrong(first, end)
    }
  }
}

function wrong(start: number, end: number): ImageError {
  return new ImageError(
    'data_loss',
    `Bytes ${start} to ${end - 1} came otherwise than the block index of the source says, twice. ` +
      'Its store needs a look, or what is between here and there.',
    { reason: 'checksum_mismatch' },
  )
}

async function collect(bytes: Bytes, length: number): Promise<Block> {
  const block = new Uint8Array(length)
  let filled = 0
  for await (const chunk of bytes) {
    block.set(chunk, filled)
    filled += chunk.length
  }
  return block.subarray(0, filled)
}

/** In a thread of Node's own: the main one has sockets to serve. */
async function isGood(block: Block, sha256: string): Promise<boolean> {
  const found = await webcrypto.subtle.digest('SHA-256', block)
  return Buffer.from(found).toString('hex') === sha256
}
