// The one pipe: bytes of any source pass through the hash threads and the format inspector into the
// backend. The stream fails instead of ending when anything is wrong, so that nothing is committed.

import type { Backend, Bytes, Stat } from './backend.ts'
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
  at?: Failpoint
}

/** Stores the bytes of a job and Longhorn's record beside them; resolves with what they are. */
export async function receive(
  backend: Backend,
  hasher: Hasher,
  receiving: Receiving,
): Promise<Facts> {
  const { own, signal } = receiving
  const { name, uuid, size } = own.claim
  own.state = 'in-progress'
  const checked = new CheckedBytes(hasher, receiving)
  const stat = await backend.put(bytesKey(name, uuid), checked.pass(), {
    signal,
    ...(size === undefined ? {} : { size }),
  })
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

  constructor(hasher: Hasher, receiving: Receiving) {
    this.#hasher = hasher
    this.#receiving = receiving
  }

  async *pass(): AsyncGenerator<Uint8Array, void, undefined> {
    const { own, bytes, sizeMax, signal, onProgress } = this.#receiving
    const { size, description } = own.claim
    const inspector = new FormatInspector()
    const hashing = this.#hasher.digest(bytes, algorithmsFor(description.expected))
    for await (const piece of hashing.bytes) {
      own.processedSize += piece.length
      assertSize(own.processedSize, size, sizeMax)
      inspector.write(piece)
      onProgress()
      yield piece
      signal.throwIfAborted()
    }
    // Before anything is refused: only this lets the hash threads forget the stream.
    this.#digests = await hashing.digests()
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
    this.#inspection = inspector.end()
    assertDigests(description.expected, this.#digests)
    await this.#receiving.settle(this.#digests)
    signal.throwIfAborted()
    own.bytesGiven = true
  }

  facts(stat: Stat): Facts {
    const { processedSize } = this.#receiving.own
    if (!this.#inspection || !this.#digests || stat.size !== processedSize) {
      throw new ImageError(
        'data_loss',
        `The storage holds ${stat.size} bytes of ${processedSize} that were given to it.`,
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
