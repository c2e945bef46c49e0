// The bytes of a version that are corrupt, or gone though this store has not deleted them, uploaded once
// more: they serve in the place of those, as what a scrub has healed does (docs/layout.md, "Corrupt
// bytes"). The record, and with it every link, stays as it is.

import type { Bytes } from './backend.ts'
import { isMarked } from './bytes.ts'
import { readCorruption } from './corrupt.ts'
import { ImageError } from './errors.ts'
import type { Hasher } from './hasher.ts'
import { type Image, imageOfRecord } from './image.ts'
import { type Ingest, parseBytesKey } from './layout.ts'
import { receive } from './receive.ts'
import type { VersionRecord } from './record.ts'
import { taken, unusable } from './refuse.ts'
import type { IngestRequest } from './request.ts'
import type { Rooms } from './rooms.ts'
import { assertAlone, leave, point } from './scrub/heal.ts'
import { type Unserved, findBytes, lossOf } from './sound.ts'

export interface Restoring {
  request: IngestRequest
  unserved: Unserved
  open: () => Bytes | Promise<Bytes>
  signal: AbortSignal
}

/** Resolves with the image when the bytes are durable, checked and served; other bytes are `already_exists`. */
export async function restore(
  rooms: Rooms,
  hasher: Hasher,
  { request, unserved, open, signal }: Restoring,
): Promise<Image> {
  const { backend, jobs } = rooms
  const { record } = unserved
  const bytes = await replaceable(rooms, record)
  if (!bytes) throw unusable(unserved)
  const { description, size, sizeMax, decompress } = request
  const own = await jobs.begin({
    name: bytes.name,
    version: record.version,
    versionGiven: true,
    description,
    heals: bytes.key,
    ...(size !== undefined && { size }),
  })
  const { name, uuid } = own.claim
  try {
    await assertAlone(rooms, bytes.key, uuid)
    await assertStillUnserved(rooms, record)
    await receive(backend, hasher, {
      own,
      bytes: await open(),
      sizeMax,
      signal: AbortSignal.any([signal, own.signal]),
      settle: async ({ sha512 }) => {
        if (sha512 !== record.checksums.sha512) throw taken(record)
      },
      onProgress: () => {},
      ...(decompress && { decompress }),
    })
    await jobs.assertOwned(own)
    const mark = (await readCorruption(backend, bytes)) ?? lossOf(record)
    const { expected, actual } = mark
    await point({ rooms }, { ...bytes, records: [record] }, own, { expected, actual })
  } catch (error) {
    await leave({ rooms }, own)
    throw error
  }
  jobs.release(own)
  await jobs.remove(name, uuid)
  return imageOfRecord(record)
}

/** Who was faster has ended before the claim was there: its bytes serve, and are not to be replaced. */
async function assertStillUnserved({ backend }: Rooms, record: VersionRecord): Promise<void> {
  if ((await findBytes(backend, record))?.corruption) return
  const what = `${record.name} ${record.version} was deleted or replaced meanwhile. Try again.`
  throw new ImageError('unavailable', what)
}

/** The first bytes of a record that nobody may be removing: with those goes what serves in their place. */
async function replaceable(
  { backend }: Rooms,
  record: VersionRecord,
): Promise<(Ingest & { key: string }) | undefined> {
  for (const key of record.keys) {
    const ingest = parseBytesKey(key)
    if (ingest && !(await isMarked(backend, ingest))) return { key, ...ingest }
  }
  return undefined
}
