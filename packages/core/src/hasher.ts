// Hashes streams while they pass: the bytes go through a ring of shared 1 MiB buffers that threads
// hash while the next room writes them. One pass, one copy, and memory that has a limit.

import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { Bytes } from './backend.ts'
import type { Algorithm, Digests } from './checksum.ts'
import { ImageError } from './errors.ts'
import { type Piece, Pieces, Ring, pieceBytes } from './ring.ts'

/** What can be made of a stream while it passes: digests, and the block index (blocks.ts). */
export type Wanted = Algorithm | 'blocks'

/** An order to a thread. It answers each in turn, an `end` with what was made. */
export interface HashOrder {
  kind: 'update' | 'end' | 'drop'
  stream: number
  algorithm: Wanted
  piece?: Piece
  length?: number
}

/** What a thread says to an order. */
export interface HashReply {
  digest?: string
  /** With zeros up to whole sectors, where the stream did not end with one. */
  aligned?: string
  blocks?: Uint8Array
}

/** A stream that is being hashed: read `bytes` to its end, then ask for the digests. */
export interface Digesting {
  /** The same bytes in pieces of at most `pieceBytes`, valid as long as Backend says of chunks. */
  bytes: AsyncGenerator<Uint8Array, void, undefined>
  /** To be called once `bytes` has ended. */
  digests(): Promise<Digests>
  /** With zeros up to whole sectors (aligned.ts); undefined where nothing is missing. */
  aligned(): Digests | undefined
  /** The block index as it is kept, where it was wanted; to be called after `digests`. */
  blocks(): Uint8Array
}

/** Time per byte of each, relative to SHA-512: streams share the threads by it. */
const cost: Record<Wanted, number> = { sha512: 1, sha256: 0.5, blocks: 0.5, sha1: 0.5, md5: 1 }

class Thread {
  readonly #worker: Worker
  /** The askers of the orders under way: replies come in the order of the orders. */
  readonly #waiting: { resolve(reply: HashReply): void; reject(error: Error): void }[] = []
  #failure: Error | undefined
  load = 0

  constructor() {
    this.#worker = new Worker(new URL('./hash-thread.js', import.meta.url), {
      // It keeps no objects; its nursery need not be that of the main thread.
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    })
    this.#worker.on('message', (reply: HashReply) => {
      this.#waiting.shift()?.resolve(reply)
      if (this.#waiting.length === 0) this.#worker.unref()
    })
    this.#worker.on('error', (cause) => this.#fail(cause))
    this.#worker.on('exit', () => this.#fail(undefined))
    // Last: to listen for messages refers to the worker again.
    this.#worker.unref()
  }

  ask(order: HashOrder): Promise<HashReply> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure)
      // Only a thread that owes an answer keeps the process alive.
      if (this.#waiting.length === 0) this.#worker.ref()
      this.#waiting.push({ resolve, reject })
      this.#worker.postMessage(order)
    })
  }

  async stop(): Promise<void> {
    await this.#worker.terminate()
  }

  #fail(cause: unknown): void {
    this.#failure ??= new ImageError('internal', 'A hash thread has ended.', { cause })
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
  }
}

/** A few hash threads and the buffers, for all streams of the process. */
export class Hasher {
  readonly #threadsMax: number
  readonly #threads: Thread[] = []
  readonly #pieces = new Pieces()
  #lastStream = 0

  /**
   * Two threads keep two cores busy: SHA-512 on the one, SHA-256 and the rest on the other. Where
   * there are more cores a third one makes the block index, which then takes no time of its own.
   * They start with the first stream.
   */
  constructor(options: { threads?: number } = {}) {
    this.#threadsMax = options.threads ?? Math.max(2, Math.min(3, availableParallelism()))
  }

  /** Reads `source` at most some pieces ahead of the reader of `bytes` (ring.ts). */
  digest(source: Bytes, wanted: readonly Wanted[]): Digesting {
    while (this.#threads.length < this.#threadsMax) this.#threads.push(new Thread())
    const hashes = new Hashes(++this.#lastStream, wanted, this.#threads)
    return {
      bytes: readRing(new Ring(this.#pieces), source, hashes),
      digests: () => hashes.digests(),
      aligned: () => hashes.aligned,
      blocks: () => hashes.blocks(),
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.stop()))
  }
}

/** The hashes of one stream, each with its seat on a thread. */
class Hashes {
  readonly #stream: number
  readonly #seats: { algorithm: Wanted; thread: Thread }[] = []
  #left = false
  #blocks: Uint8Array | undefined
  aligned: Digests | undefined

  constructor(stream: number, wanted: readonly Wanted[], threads: readonly Thread[]) {
    this.#stream = stream
    for (const algorithm of wanted) {
      const thread = threads.reduce((a, b) => (b.load < a.load ? b : a))
      thread.load += cost[algorithm]
      this.#seats.push({ algorithm, thread })
    }
  }

  /** Settles when no thread reads the piece any more. */
  async update(piece: Piece, length: number): Promise<void> {
    await this.#ask('update', piece, length)
  }

  async digests(): Promise<Digests> {
    const replies = await this.#ask('end')
    this.#leave()
    this.#blocks = replies.find(({ blocks }) => blocks)?.blocks
    const isWhole = replies.every(({ aligned }) => aligned === undefined)
    this.aligned = isWhole ? undefined : this.#digestsOf(replies.map(({ aligned }) => aligned))
    return this.#digestsOf(replies.map(({ digest }) => digest))
  }

  #digestsOf(found: readonly (string | undefined)[]): Digests {
    const entries = this.#seats.map(({ algorithm }, index) => [algorithm, found[index]])
    return Object.fromEntries(entries.filter(([, digest]) => digest !== undefined)) as Digests
  }

  blocks(): Uint8Array {
    if (!this.#blocks) throw new ImageError('internal', 'The block index was not made.')
    return this.#blocks
  }

  /** Forgets the stream, when it ends otherwise than by `digests`. */
  drop(): void {
    if (this.#left) return
    this.#leave()
    // The threads answer nobody here: a thread that failed has said so to the update before.
    this.#ask('drop').catch(() => {})
  }

  #leave(): void {
    this.#left = true
    for (const { algorithm, thread } of this.#seats) thread.load -= cost[algorithm]
  }

  #ask(kind: HashOrder['kind'], piece?: Piece, length?: number): Promise<HashReply[]> {
    const stream = this.#stream
    return Promise.all(
      this.#seats.map(({ algorithm, thread }) =>
        thread.ask({ kind, stream, algorithm, ...(piece && { piece, length: length ?? 0 }) }),
      ),
    )
  }
}

async function* readRing(
  ring: Ring,
  source: Bytes,
  hashes: Hashes,
): AsyncGenerator<Uint8Array, void, undefined> {
  fill(ring, source, hashes).then(
    () => ring.end(),
    (error: unknown) => ring.end({ error }),
  )
  let finished = false
  try {
    for (;;) {
      const filled = await ring.shift()
      if (!filled) break
      try {
        yield new Uint8Array(filled.piece.memory, filled.piece.offset, filled.length)
      } finally {
        // The reader is done with it; only the hash may not be.
        ring.giveWhenHashed(filled)
      }
      // Also what makes a failure of a thread the stream's.
      await filled.hashed
    }
    finished = true
  } finally {
    const closed = ring.close()
    if (!finished) hashes.drop()
    await closed
  }
}

/** Copies the source into pieces and has them hashed, until it ends or the reader has gone. */
async function fill(ring: Ring, source: Bytes, hashes: Hashes): Promise<void> {
  let piece: Piece | undefined
  let target: Uint8Array = new Uint8Array(0)
  let used = 0
  const push = (full: Piece, length: number): void => {
    const hashed = hashes.update(full, length)
    // The reader awaits it; until then a failure must not count as nobody's.
    hashed.catch(() => {})
    ring.push({ piece: full, length, hashed })
    piece = undefined
    used = 0
  }
  try {
    for await (const chunk of source) {
      if (ring.isClosed) return
      for (let offset = 0; offset < chunk.length;) {
        if (!piece) {
          piece = await ring.take()
          if (!piece) return
          target = new Uint8Array<ArrayBufferLike>(piece.memory, piece.offset, pieceBytes)
        }
        const length = Math.min(chunk.length - offset, pieceBytes - used)
        target.set(length === chunk.length ? chunk : chunk.subarray(offset, offset + length), used)
        offset += length
        used += length
        if (used === pieceBytes) push(piece, used)
      }
    }
  } finally {
    // Also before an error of the source: that comes in its place, after the bytes before it. Once
    // the reader has gone the threads have been told to forget the stream, and must hear no more of it.
    if (piece && used > 0 && !ring.isClosed) push(piece, used)
    else if (piece) ring.give(piece)
  }
}
