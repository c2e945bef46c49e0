// Files that are compressed and could be unpacked while they pass: how they are known by their first
// bytes, what the commands for them are called, and what is said of those that can not be unpacked.

import type { Bytes } from './backend.ts'
import { ImageError, asError } from './errors.ts'

/** How a file is known by its first bytes. */
export interface Magic {
  what: string
  /** Where `magic` is expected. */
  at?: number
  /** One character a byte. */
  magic: string
  /** What else must hold, for a magic so short that a disk might begin with it. */
  also?: (head: Uint8Array) => boolean
}

export type Compression = 'gzip' | 'xz' | 'zstd' | 'bzip2'

/** In the order in which they are looked for; each is also the name of the command. */
export const compressions: Record<Compression, Magic> = {
  // RFC 1952 §2.3: deflate is method 8, and the three upper flags must be zero.
  gzip: {
    what: 'a gzip file',
    magic: '\x1f\x8b\x08',
    also: (head) => ((head[3] ?? 0) & 0xe0) === 0,
  },
  xz: { what: 'an xz file', magic: '\xfd7zXZ\0' },
  zstd: { what: 'a zstd file', magic: '\x28\xb5\x2f\xfd' },
  bzip2: {
    what: 'a bzip2 file',
    magic: 'BZh',
    // After the level comes a block, or in an empty file the end.
    also: (head) =>
      /[1-9]/.test(latin1(head.subarray(3), 1)) &&
      (holds(head, 4, '1AY&SY') || holds(head, 4, '\x17rE8P\x90')),
  },
}

/** Enough of a file to tell how it is compressed. */
const headBytes = 10

/** How a file that begins so is compressed; undefined when it is not, or in another way. */
export function compressionOf(head: Uint8Array): Compression | undefined {
  const known = Object.entries(compressions) as [Compression, Magic][]
  return known.find(([, magic]) => begins(head, magic))?.[0]
}

/**
 * Tells how `bytes` are compressed. They are read no further than that needs, and must then be closed;
 * where this rejects nobody has to. An abort ends it, whatever the source waits for.
 */
export async function sniff(bytes: Bytes, signal: AbortSignal): Promise<Sniffed> {
  signal.throwIfAborted()
  const looking = look(bytes[Symbol.asyncIterator]())
  let leave = (): void => {}
  const left = new Promise<never>((_, reject) => (leave = () => reject(asError(signal.reason))))
  signal.addEventListener('abort', leave)
  try {
    return await Promise.race([looking, left])
  } catch (error) {
    // A source that is stuck can only be let go of when it moves.
    looking.then((sniffed) => sniffed.close()).catch(() => {})
    throw error
  } finally {
    signal.removeEventListener('abort', leave)
  }
}

async function look(source: AsyncIterator<Uint8Array>): Promise<Sniffed> {
  const head: Uint8Array[] = []
  let last: IteratorResult<Uint8Array, unknown>
  do {
    last = await source.next()
    // The memory of a chunk is its source's again when the next is asked for.
    if (!last.done) head.push(Uint8Array.from(last.value))
  } while (!last.done && lengthOf(head) < headBytes)
  return new Sniffed(source, head)
}

/** Bytes whose beginning has been looked at. */
export class Sniffed {
  readonly compression: Compression | undefined
  readonly #source: AsyncIterator<Uint8Array>
  readonly #head: readonly Uint8Array[]
  #isPassed = false

  constructor(source: AsyncIterator<Uint8Array>, head: readonly Uint8Array[]) {
    this.compression = compressionOf(Buffer.concat(head))
    this.#source = source
    this.#head = head
  }

  /** All of them, once. */
  async *bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    this.#isPassed = true
    let isLeft = true
    try {
      for (const chunk of this.#head) yield chunk
      isLeft = false
    } finally {
      if (isLeft) await this.#source.return?.()
    }
    yield* { [Symbol.asyncIterator]: () => this.#source }
  }

  /** Lets go of a source whose bytes nobody came to read. */
  async close(): Promise<void> {
    if (!this.#isPassed) await this.#source.return?.()
  }
}

function lengthOf(chunks: readonly Uint8Array[]): number {
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0)
}

export function begins(head: Uint8Array, { at = 0, magic, also }: Magic): boolean {
  return holds(head, at, magic) && (!also || also(head))
}

export function holds(bytes: Uint8Array, at: number, magic: string): boolean {
  return latin1(bytes.subarray(at), magic.length) === magic
}

/** The first bytes as text, one character each. */
export function latin1(bytes: Uint8Array, length: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(length, bytes.length)).toString(
    'latin1',
  )
}

/**
 * Why compressed bytes can not be unpacked: they end too early; they are not what was compressed, or
 * go on behind its end; or they need what is not there, and `detail` says how to do without.
 */
export type Fault = 'cut' | 'damaged' | 'unsupported'

export function unpackError(compression: Compression, fault: Fault, detail: string): ImageError {
  const what = `What begins as ${compressions[compression].what}`
  const remedy = `Nothing was stored: try \`${compression} -t FILE\`, and send it again.`
  const messages: Record<Fault, string> = {
    cut: `${what} is cut off, or has other bytes behind its end. ${remedy}`,
    damaged: `${what} is damaged, or has something else behind its end (${detail}). ${remedy}`,
    unsupported: `${what} ${detail}`,
  }
  const code = fault === 'unsupported' ? 'invalid_argument' : 'data_loss'
  return new ImageError(code, messages[fault], { reason: 'unsupported_format' })
}
