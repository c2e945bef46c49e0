// The ring of shared memory between a source, the hash threads and the next room: a source fills
// pieces, a reader takes them in turn, and a piece is free again when nobody reads it any more.

import { ImageError } from './errors.ts'

/** How large a piece of the ring is, and so how large the writes to a store become. */
export const pieceBytes: number = 1024 * 1024

/** A stream may always be so many pieces ahead of its reader. */
const piecesPerStream = 3
/**
 * Pieces are made so many at a time, and kept: as many as streams ever needed at once. As long as there
 * are no more in use a stream may be further ahead: a medium that takes its time for some pieces must not
 * hold up the hashes of those behind them, above all of zeros, which it need not write.
 */
const piecesPerArena = 16

/** A part of shared memory that begins on a page of the machine. */
export interface Piece {
  memory: SharedArrayBuffer
  offset: number
}

// The type library of Node leaves this global of the language out.
declare const WebAssembly: {
  Memory: new (options: { initial: number; maximum: number; shared: true }) => {
    readonly buffer: SharedArrayBuffer
  }
}

/**
 * The free pieces of all streams. The memory is that of WebAssembly for one reason: it begins on a
 * page, as direct writes to a disk want it, and its pages take no room before they are used.
 */
export class Pieces {
  readonly #free: Piece[] = []
  #used = 0

  /** Whether one more would need no more memory than a few streams need anyway. */
  get areSpare(): boolean {
    return this.#used < piecesPerArena
  }

  take(): Piece {
    this.#used += 1
    if (this.#free.length === 0) {
      const pages = (piecesPerArena * pieceBytes) / 65_536
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }).buffer
      for (let index = piecesPerArena - 1; index >= 0; index--) {
        this.#free.push({ memory, offset: index * pieceBytes })
      }
    }
    const piece = this.#free.pop()
    if (!piece) throw new ImageError('internal', 'There is no free piece.')
    return piece
  }

  /** The last one given is the next one taken: as little memory as possible is ever touched. */
  give(piece: Piece): void {
    this.#used -= 1
    this.#free.push(piece)
  }
}

export interface Filled {
  piece: Piece
  length: number
  hashed: Promise<void>
}

/** The pieces of one stream: the filler takes and pushes, the reader shifts and gives back. */
export class Ring {
  readonly #pieces: Pieces
  readonly #filled: Filled[] = []
  #lastHashed = Promise.resolve()
  #out = 0
  #ended = false
  #failure: { error: unknown } | undefined
  /** The reader has gone. */
  isClosed = false
  #wakeFiller: (() => void) | undefined
  #wakeReader: (() => void) | undefined

  constructor(pieces: Pieces) {
    this.#pieces = pieces
  }

  /** An empty piece, as soon as there is one; undefined once the reader has gone. */
  async take(): Promise<Piece | undefined> {
    while (!this.isClosed && this.#out >= piecesPerStream && !this.#pieces.areSpare) {
      await new Promise<void>((resolve) => (this.#wakeFiller = resolve))
    }
    if (this.isClosed) return undefined
    this.#out += 1
    return this.#pieces.take()
  }

  push(filled: Filled): void {
    this.#lastHashed = filled.hashed
    this.#filled.push(filled)
    this.#wakeReader?.()
  }

  end(failure?: { error: unknown }): void {
    this.#ended = true
    this.#failure = failure
    this.#wakeReader?.()
  }

  /** The next filled piece, undefined at the end; throws what the source threw, in its place. */
  async shift(): Promise<Filled | undefined> {
    while (this.#filled.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => (this.#wakeReader = resolve))
    }
    const filled = this.#filled.shift()
    if (!filled && this.#failure) throw this.#failure.error
    return filled
  }

  give(piece: Piece): void {
    this.#out -= 1
    this.#pieces.give(piece)
    this.#wakeFiller?.()
  }

  /**
   * The reader has gone. Resolves when the threads have let go of what is filled: streams that are
   * given up faster than they are hashed would else take ever more pieces.
   */
  async close(): Promise<void> {
    this.isClosed = true
    this.#wakeFiller?.()
    for (const filled of this.#filled.splice(0)) this.giveWhenHashed(filled)
    // A thread answers in turn. Its failure is the reader's only as long as there is one.
    await this.#lastHashed.catch(() => {})
  }

  giveWhenHashed(filled: Filled): void {
    // A piece whose hash failed is still in a thread's hands: it is not used again.
    filled.hashed.then(
      () => this.give(filled.piece),
      () => {},
    )
  }
}
