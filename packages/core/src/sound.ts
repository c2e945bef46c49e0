// The bytes that readers of a record are given: never those that are known to be corrupt. What serves in
// their place is found by their mark; where nothing does, the image has failed.

import type { Backend, Stat } from './backend.ts'
import { ingestsOf, isMarked } from './bytes.ts'
import { type Corruption, readCorruption } from './corrupt.ts'
import { orUndefined } from './errors.ts'
import { type Image, imageOfRecord } from './image.ts'
import { type Ingest, ingestId, marksPrefix, parseBytesKey, parseCorruptKey } from './layout.ts'
import type { VersionRecord } from './record.ts'

/** A record, and the bytes that its readers get. */
export interface Sound {
  record: VersionRecord
  bytes: Stat
  corruption?: undefined
}

/** A record whose bytes nobody gets, and what is wrong with them. */
export interface Unserved {
  record: VersionRecord
  corruption: Corruption
  /** They are gone, and this store has not deleted them. */
  isLost: boolean
}

export type Found = Sound | Unserved

/**
 * The first bytes of a record that are sound, or serve in the place of corrupt ones, also of such as were
 * taken away since; else what is wrong with them. Undefined for a record that was never acknowledged: its
 * bytes are gone, and a remover's mark is on them, which was there before they went.
 */
export async function findBytes(
  backend: Backend,
  record: VersionRecord,
): Promise<Found | undefined> {
  let corrupt: Corruption | undefined
  for (const key of record.keys) {
    const [bytes, corruption] = await Promise.all([
      orUndefined(backend.stat(key)),
      corruptionOf(backend, key),
    ])
    if (bytes && !corruption) return { record, bytes }
    const { healedBy } = corruption ?? {}
    const healed = healedBy === undefined ? undefined : await orUndefined(backend.stat(healedBy))
    if (healed) return { record, bytes: healed }
    if (bytes) corrupt ??= corruption
  }
  if (corrupt) return { record, corruption: corrupt, isLost: false }
  for (const ingest of ingestsOf(record)) if (await isMarked(backend, ingest)) return undefined
  return { record, corruption: lossOf(record), isLost: true }
}

/** What is said of bytes that are gone. */
export function lossOf({ checksums }: VersionRecord): Corruption {
  return { expected: `sha512:${checksums.sha512}`, actual: 'nothing' }
}

/** What is said of the bytes under a key; undefined where nothing is known against them. */
export async function corruptionOf(backend: Backend, key: string): Promise<Corruption | undefined> {
  const ingest = parseBytesKey(key)
  return ingest && (await readCorruption(backend, ingest))
}

/** Ready, unless its bytes are corrupt and nothing serves in their place. */
export function imageOfFound(found: Found): Image {
  const { record, corruption } = found
  const image = imageOfRecord(record)
  if (!corruption) return image
  const { expected, actual } = corruption
  const message = found.isLost
    ? `Its bytes are gone, and this store has not deleted them. Put the file back as ${record.keys[0]} ` +
      `(${record.size} bytes, ${expected}), or upload the same bytes again under this version.`
    : `Its bytes are no longer what was stored: ${expected} was expected, ${actual} was found. A scrub ` +
      'with repair looks for a sound copy; else upload the same bytes again under this version.'
  return { ...image, state: 'failed', message }
}

/** All corruptions of a store, as they were at the last look. */
export class Corruptions {
  readonly #backend: Backend
  readonly #onChange: (ids: ReadonlySet<string>) => Promise<void>
  #tags = new Map<string, string>()
  #lookedAtMs = -Infinity
  /** Changes whenever something else is known than before. */
  revision = 0

  /** `onChange` is given the `<name>-<uuid>` of all that a look tells otherwise than the one before. */
  constructor(backend: Backend, onChange: (ids: ReadonlySet<string>) => Promise<void>) {
    this.#backend = backend
    this.#onChange = onChange
  }

  ageMs(): number {
    return performance.now() - this.#lookedAtMs
  }

  /** Looks anew. */
  async look(): Promise<void> {
    const startedAtMs = performance.now()
    const tags = new Map<string, string>()
    for await (const { key, tag } of this.#backend.list(marksPrefix)) {
      const ingest = parseCorruptKey(key)
      if (ingest) tags.set(idOf(ingest), tag)
    }
    // One that began later has been faster.
    if (startedAtMs < this.#lookedAtMs) return
    const changed = [...tags.keys(), ...this.#tags.keys()].filter(
      (id) => tags.get(id) !== this.#tags.get(id),
    )
    // Where that fails it is told by the next look.
    if (changed.length > 0) await this.#onChange(new Set(changed))
    this.#tags = tags
    this.#lookedAtMs = startedAtMs
    if (changed.length > 0) this.revision += 1
  }

  /** Whether anything is known of any bytes of the record; only a look at the store tells what. */
  concerns(record: VersionRecord, ids?: ReadonlySet<string>): boolean {
    return record.keys.some((key) => {
      const ingest = parseBytesKey(key)
      return ingest !== undefined && (ids ?? this.#tags).has(idOf(ingest))
    })
  }
}

function idOf({ name, uuid }: Ingest): string {
  return ingestId(name, uuid)
}
