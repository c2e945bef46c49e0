// The one pipe: bytes of any source pass through the hash threads and the format inspector into the
// backend. The stream fails instead of ending when anything is wrong, so that nothing is committed.

import { alignedSize } from './aligned.ts'
import type { Backend, Bytes, PutOptions, Remains, Stat } from './backend.ts'
import { algorithmsFor, assertDigests } from './checksum.ts'
import type { Digests } from './checksum.ts'
import type { OwnJob } from './claim.ts'
import { type Compression, type Sniffed, sniff } from './compression.ts'
import { ImageError, isImageError } from './errors.ts'
import { FormatInspector, type ImageFormat, type Inspection } from './format.ts'
import type { Hasher } from './hasher.ts'
import { blocksKey, bytesKey, configKey } from './layout.ts'
import type { Failpoint } from './publish.ts'
import { type Facts, type Packed, expectedSha512, formatBackingConfig } from './record.ts'
import { bytesOf } from './backend.ts'
import { unpack } from './unpack.ts'

export interface Receiving {
  own: OwnJob
  bytes: Bytes
  /** The most bytes that are taken. */
  sizeMax: number
  signal: AbortSignal
  /** The last word before the bytes are committed: throws to refuse them. */
  settle(digests: Digests): Promise<unknown>
  /** Called now and then while bytes pass. */
  onProgress(): void
  /** Bytes that are compressed are unpacked; absent: they are refused as every other format is. */
  decompress?: 'auto'
  /** What the bytes must have, beside what the claim says; packed or unpacked, where they are that. */
  expected?: readonly string[]
  /** What they must turn out to be. */
  format?: ImageFormat
  /** The storage has the bytes before those that come, and goes on after them. */
  after?: Remains
  /** Whether what is unfinished stays for a successor; absent: never. */
  keep?: (error: unknown) => boolean
  /** The edition of the source, for a successor; absent: it can not go on. */
  validator?: string
  at?: Failpoint
}

/** Stores the bytes of a job, and beside them Longhorn's record and the block index. */
export async function receive(
  backend: Backend,
  hasher: Hasher,
  receiving: Receiving,
): Promise<Facts> {
  const { own, signal, after } = receiving
  const { name, uuid } = own.claim
  const key = bytesKey(name, uuid)
  own.state = 'in-progress'
  own.processedSize = after?.offset ?? 0
  // What goes on after bytes that are stored is not their beginning.
  const sniffed = receiving.decompress && !after ? await sniff(receiving.bytes, signal) : undefined
  const checked = new CheckedBytes(hasher, receiving, sniffed)
  let stat: Stat
  try {
    const options = putOptions(receiving, sniffed?.compression)
    stat = await backend.put(key, after ? checked.tail() : checked.pass(), options)
  } finally {
    await sniffed?.close()
  }
  // Nobody here has seen what the storage had already: that is read once.
  if (after) await checked.readBack(await backend.get(key, { lend: true, signal }))
  await receiving.at?.('bytes stored')
  const facts = checked.facts(stat)
  const config = formatBackingConfig({
    name,
    uuid,
    facts,
    expectedChecksum: expectedSha512(own.claim.description.expected, facts),
    modifiedAt: stat.modifiedAt,
  })
  await backend.put(configKey(name, uuid), bytesOf(config))
  await backend.put(blocksKey(name, uuid), bytesOf(checked.blocks))
  await receiving.at?.('config stored')
  return facts
}

/** Of what is unpacked nobody knows the length, and nobody can go on in the middle of it. */
function putOptions(receiving: Receiving, compression: Compression | undefined): PutOptions {
  const { own, signal, after, keep, validator } = receiving
  own.validator = compression === undefined ? validator : undefined
  if (compression !== undefined) return { signal }
  const size = sizeOf(own)
  return {
    signal,
    ...(size !== undefined && { size }),
    ...(after && { after }),
    ...(keep && { keep, onDurable: (bytes, id) => own.isDurable(bytes, id) }),
  }
}

class CheckedBytes {
  readonly #hasher: Hasher
  readonly #receiving: Receiving
  readonly #bytes: Bytes
  readonly #expected: readonly string[]
  readonly #compression: Compression | undefined
  /** What arrived, where that was packed. */
  #packed: (Packed & { checksums: Digests }) | undefined
  #inspection: Inspection | undefined
  #digests: Digests | undefined
  #aligned: Digests | undefined
  #passedBytes = 0
  /** The block index, once the bytes have passed. */
  blocks: Uint8Array = new Uint8Array(0)

  constructor(hasher: Hasher, receiving: Receiving, sniffed: Sniffed | undefined) {
    this.#hasher = hasher
    this.#receiving = receiving
    this.#bytes = sniffed?.bytes() ?? receiving.bytes
    const { expected } = receiving.own.claim.description
    this.#expected = [...expected, ...(receiving.expected ?? [])]
    this.#compression = sniffed?.compression
  }

  async *pass(): AsyncGenerator<Uint8Array, void, undefined> {
    const left = new AbortController()
    try {
      yield* this.#check(this.#image(left.signal))
    } finally {
      // Whoever unpacks may be waiting for a source that is stuck.
      left.abort()
    }
  }

  /** What arrives, or what is in it. */
  #image(left: AbortSignal): Bytes {
    if (this.#compression === undefined) return this.#counted()
    const { signal, sizeMax } = this.#receiving
    const leaving = AbortSignal.any([signal, left])
    const packed = this.#hashed(this.#compression)
    return unpack(packed, this.#compression, { signal: leaving, sizeMax })
  }

  /** The packed bytes as they arrive. */
  async *#hashed(compression: Compression): AsyncGenerator<Uint8Array, void, undefined> {
    const hashing = this.#hasher.digest(this.#counted(), algorithmsFor(this.#expected))
    yield* hashing.bytes
    const checksums = await hashing.digests()
    this.#packed = { compression, size: this.#receiving.own.processedSize, checksums }
  }

  /** What follows the bytes that the storage has: they can only be judged once it has all. */
  async *tail(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#counted()
    this.#receiving.own.bytesGiven = true
  }

  async readBack(stored: Bytes): Promise<void> {
    for await (const piece of this.#check(stored)) void piece
  }

  /** The bytes as they arrive, within the size that was told and the limit. */
  async *#counted(): AsyncGenerator<Uint8Array, void, undefined> {
    const { own, sizeMax, onProgress } = this.#receiving
    const size = sizeOf(own)
    for await (const chunk of this.#bytes) {
      own.processedSize += chunk.length
      assertSize(own.processedSize, size, sizeMax)
      onProgress()
      yield chunk
    }
    if (size !== undefined && own.processedSize < size) {
      throw new ImageError(
        'cancelled',
        `Only ${own.processedSize} of ${size} bytes arrived. Nothing was stored: send it again.`,
        {
          reason: 'invalid_request',
          expected: String(size),
          actual: String(own.processedSize),
        },
      )
    }
  }

  async *#check(bytes: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
    const { own, signal } = this.#receiving
    const inspector = new FormatInspector({ isUnpacked: this.#compression !== undefined })
    const wanted = [...algorithmsFor(this.#expected), 'blocks'] as const
    const hashing = this.#hasher.digest(bytes, wanted)
    for await (const piece of hashing.bytes) {
      this.#passedBytes += piece.length
      inspector.write(piece)
      yield piece
      signal.throwIfAborted()
    }
    // Before anything is refused: only this lets the hash threads forget the stream.
    this.#digests = await hashing.digests()
    this.#aligned = hashing.aligned()
    this.blocks = hashing.blocks()
    this.#inspection = inspector.end()
    assertDigests(this.#expected, this.#digests, this.#packed?.checksums)
    assertFormat(this.#receiving.format, this.#inspection)
    await this.#receiving.settle(this.#digests)
    signal.throwIfAborted()
    own.bytesGiven = true
  }

  facts(stat: Stat): Facts {
    if (!this.#inspection || !this.#digests || stat.size !== this.#passedBytes) {
      throw new ImageError(
        'data_loss',
        `The storage holds ${stat.size} bytes of ${this.#passedBytes} that were given to it.`,
      )
    }
    return {
      size: stat.size,
      virtualSize: this.#inspection.virtualSize,
      realSize: stat.allocated ?? stat.size,
      format: this.#inspection.format,
      checksums: this.#digests,
      warnings: this.#inspection.warnings,
      ...(this.#packed && {
        packed: { ...this.#packed, checksums: usualDigests(this.#packed.checksums) },
      }),
      ...(this.#aligned && {
        aligned: { size: alignedSize(stat.size), checksums: usualDigests(this.#aligned) },
      }),
    }
  }
}

/** The record has room for the two that are always made. */
function usualDigests({ sha512, sha256 }: Digests): { sha512: string; sha256: string } {
  return { sha512, sha256 }
}

/** How many bytes will come in all: the client said so, or the source did. */
function sizeOf({ claim, size }: OwnJob): number | undefined {
  return claim.size ?? size
}

function assertFormat(told: ImageFormat | undefined, { format }: Inspection): void {
  if (told === undefined || told === format) return
  throw new ImageError('data_loss', `The source says that it is ${told}; it is ${format}.`, {
    reason: 'unsupported_format',
    expected: told,
    actual: format,
  })
}

function assertSize(received: number, size: number | undefined, sizeMax: number): void {
  if (size !== undefined && received > size) {
    throw new ImageError(
      'invalid_argument',
      `More than the ${size} bytes that were announced arrived. Nothing was stored.`,
      { expected: String(size) },
    )
  }
  if (received > sizeMax) {
    throw new ImageError(
      'invalid_argument',
      `The image has more than ${sizeMax} bytes, the limit that MAX_IMAGE_SIZE sets.`,
      { reason: 'too_large', expected: String(sizeMax) },
    )
  }
}

/** Refusals that leave no trace: the client's request was wrong, not the image. */
const traceless = new Set([
  'invalid_request',
  'unauthenticated',
  'forbidden',
  'not_found',
  'already_exists',
  'in_use',
  'precondition_failed',
  'too_large',
  'unsupported_media_type',
  'too_many_requests',
  'no_space',
])

/** Whether a failed ingest stays visible: a bad image or a broken transfer does. */
export function leavesTrace(error: unknown): boolean {
  return !isImageError(error) || error.code === 'cancelled' || !traceless.has(error.reason)
}
