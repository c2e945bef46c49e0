// The one pipe: bytes of any source pass through the hash threads and the format inspector into the
// backend. The stream fails instead of ending when anything is wrong, so that nothing is committed.

import type { Backend, Bytes, PutOptions, Remains, Stat } from './backend.ts'
import { algorithmsFor, assertDigests } from './checksum.ts'
import type { Digests } from './checksum.ts'
import type { OwnJob } from './claim.ts'
import { ImageError, isImageError } from './errors.ts'
import { FormatInspector, type Inspection } from './format.ts'
import type { Hasher } from './hasher.ts'
import { bytesKey, configKey } from './layout.ts'
import type { Failpoint } from './publish.ts'
import { type Facts, formatBackingConfig } from './record.ts'
import { bytesOf } from './backend.ts'

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
  /** What the bytes must have, beside what the claim says. */
  expected?: readonly string[]
  /** The storage has the bytes before those that come, and goes on after them. */
  after?: Remains
  /** Whether what is unfinished stays for a successor; absent: never. */
  keep?: (error: unknown) => boolean
  at?: Failpoint
}

/** Stores the bytes of a job and Longhorn's record beside them; resolves with what they are. */
export async function receive(
  backend: Backend,
  hasher: Hasher,
  receiving: Receiving,
): Promise<Facts> {
  const { own, signal, after, keep } = receiving
  const { name, uuid } = own.claim
  const size = sizeOf(own)
  const key = bytesKey(name, uuid)
  const options: PutOptions = {
    signal,
    ...(size !== undefined && { size }),
    ...(after && { after }),
    ...(keep && { keep, onDurable: (bytes) => (own.durableSize = bytes) }),
  }
  own.state = 'in-progress'
  own.processedSize = after?.offset ?? 0
  const checked = new CheckedBytes(hasher, receiving)
  const stat = await backend.put(key, after ? checked.tail() : checked.pass(), options)
  // Nobody here has seen what the storage had already: that is read once.
  if (after) await checked.readBack(await backend.get(key, { lend: true, signal }))
  await receiving.at?.('bytes stored')
  const facts = checked.facts(stat)
  const sha512 = own.claim.description.expected.find((each) => each.startsWith('sha512:'))
  const config = formatBackingConfig({
    name,
    uuid,
    facts,
    expectedChecksum: sha512?.slice('sha512:'.length) ?? '',
    modifiedAt: stat.modifiedAt,
  })
  await backend.put(configKey(name, uuid), bytesOf(config))
  await receiving.at?.('config stored')
  return facts
}

class CheckedBytes {
  readonly #hasher: Hasher
  readonly #receiving: Receiving
  #inspection: Inspection | undefined
  #digests: Digests | undefined
  #passedBytes = 0

  constructor(hasher: Hasher, receiving: Receiving) {
    this.#hasher = hasher
    this.#receiving = receiving
  }

  async *pass(): AsyncGenerator<Uint8Array, void, undefined> {
    yield* this.#check(this.#counted())
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
    const { own, bytes, sizeMax, onProgress } = this.#receiving
    const size = sizeOf(own)
    for await (const chunk of bytes) {
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
    const expected = [...own.claim.description.expected, ...(this.#receiving.expected ?? [])]
    const inspector = new FormatInspector()
    const hashing = this.#hasher.digest(bytes, algorithmsFor(expected))
    for await (const piece of hashing.bytes) {
      this.#passedBytes += piece.length
      inspector.write(piece)
      yield piece
      signal.throwIfAborted()
    }
    // Before anything is refused: only this lets the hash threads forget the stream.
    this.#digests = await hashing.digests()
    this.#inspection = inspector.end()
    assertDigests(expected, this.#digests)
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
    }
  }
}

/** How many bytes will come in all: the client said so, or the source did. */
function sizeOf({ claim, size }: OwnJob): number | undefined {
  return claim.size ?? size
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
