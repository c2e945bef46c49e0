// Why an image is not taken in: what the head of a request tells, and what only the bytes do.

import { setTimeout as delay } from 'node:timers/promises'
import { type Backend, hasProbe, hasSpace } from './backend.ts'
import { stands } from './bytes.ts'
import type { Digests } from './checksum.ts'
import { ImageError } from './errors.ts'
import type { IngestRequest } from './request.ts'
import { assertName, assertVersion, recordKey } from './layout.ts'
import { readRecord, readTaken } from './publish.ts'
import type { Jobs } from './job.ts'
import type { VersionRecord } from './record.ts'
import type { Rooms } from './rooms.ts'
import { type Found, type Unserved, findBytes } from './sound.ts'
import { removeBrokenRecords } from './sweep.ts'
import { toCome } from './usage.ts'

const decisionTimeMs = 5000
const decisionPollMs = 250

/** The same bytes are there already under the version that was given: nothing to do. */
export class SameBytes extends Error {
  readonly record: VersionRecord

  constructor(record: VersionRecord) {
    super('the same bytes are published already')
    this.record = record
  }
}

/** Throws where the store was found to be one that must not be written to, with the reason. */
export function assertWritable(backend: Backend): void {
  const refusal = writeRefusal(backend)
  if (refusal === undefined) return
  throw new ImageError('failed_precondition', refusal, { reason: 'forbidden' })
}

/** Why nothing may be written to this store; undefined where writing is safe. */
export function writeRefusal(backend: Backend): string | undefined {
  return hasProbe(backend) ? backend.writeRefusal : undefined
}

/**
 * Refuses what can be told from the head; throws `SameBytes` when the given version is there with
 * the very digest that the client gave. Returns the records of the name, and the given version where its
 * bytes are corrupt or gone: the same bytes may take their place.
 */
export async function refuse(
  rooms: Rooms,
  request: IngestRequest,
): Promise<{ records: VersionRecord[]; unserved?: Unserved }> {
  const { name, version, size, sizeMax, description } = request
  assertName(name)
  if (version !== undefined) assertVersion(version)
  assertWritable(rooms.backend)
  if (size !== undefined && size > sizeMax) {
    throw new ImageError('invalid_argument', `${size} bytes are over MAX_IMAGE_SIZE, ${sizeMax}.`, {
      reason: 'too_large',
      expected: String(sizeMax),
      actual: String(size),
    })
  }
  const records = await rooms.catalog.fresh(name)
  if (request.mustBeNew && (records.length > 0 || (await isInFlight(rooms, name)))) {
    throw existsAlready(name)
  }
  const found = await published(rooms, records, request)
  if (!found) return { records }
  const existing = found.record
  const allowed = { records, ...(found.corruption && { unserved: found }) }
  const forms = [existing.checksums, ...(existing.packed ? [existing.packed.checksums] : [])]
  const known = description.expected.filter((each) => /^sha(512|256):/.test(each))
  for (const { sha512, sha256 } of forms) {
    if (known.includes(`sha512:${sha512}`) || known.includes(`sha256:${sha256}`)) {
      if (found.corruption) return allowed
      throw new SameBytes(existing)
    }
  }
  // Of what may be packed in another way neither digest nor size tells what is in it.
  const isOther = known.length > 0 || (size !== undefined && size !== existing.size)
  if (isOther && request.decompress === undefined) throw taken(existing)
  // Only its bytes can tell whether this is a retry of the same upload.
  return allowed
}

/** Refuses a version that is there: what a source will give can not be compared with it beforehand. */
export async function refuseTaken(
  rooms: Rooms,
  request: IngestRequest,
  records: readonly VersionRecord[],
): Promise<void> {
  const existing = await published(rooms, records, request)
  if (existing?.corruption) throw unusable(existing)
  if (existing) throw there(existing.record)
}

/**
 * Refuses with `no_space` what the medium has no room for, before anything is written: the little
 * that is kept back is for those who delete.
 */
export async function assertRoom(
  { backend, jobs }: Pick<Rooms, 'backend' | 'jobs'>,
  sizeBytes: number = 1,
): Promise<void> {
  if (!hasSpace(backend)) return
  const space = await backend.space()
  const freeBytes = Math.max(0, space.freeBytes - promisedToOthers(jobs))
  if (freeBytes >= Math.max(sizeBytes, 1)) return
  throw new ImageError(
    'resource_exhausted',
    `The image needs ${sizeBytes} bytes or more, and the storage has ${freeBytes} bytes free for ` +
      'images. Delete some or enlarge the medium.',
    { expected: String(sizeBytes), actual: String(freeBytes) },
  )
}

/**
 * What work of other processes has announced and not yet received, as of the last look at it. That of
 * this one is known to its backend, which has reserved room for it.
 */
function promisedToOthers(jobs: Jobs): number {
  const others = jobs.lastSeen.filter((job) => !job.mine && !job.end && !job.cancelled)
  return others.reduce((sum, job) => sum + toCome(job), 0)
}

async function isInFlight(rooms: Rooms, name: string): Promise<boolean> {
  return (await rooms.jobs.list(name)).some((job) => !job.end && !job.cancelled)
}

/**
 * All bytes have passed: throws `SameBytes`, or `already_exists`, when the given version is there.
 * Returns the records of the name.
 */
export async function assertFree(
  rooms: Rooms,
  request: IngestRequest,
  digests: Digests,
): Promise<VersionRecord[]> {
  const records = await rooms.catalog.fresh(request.name)
  if (request.mustBeNew && records.length > 0) throw existsAlready(request.name)
  const existing = await published(rooms, records, request)
  if (!existing) return records
  if (existing.record.checksums.sha512 !== digests.sha512) throw taken(existing.record)
  throw existing.corruption ? unusable(existing) : new SameBytes(existing.record)
}

/** That version, with its bytes or what is wrong with them. One that was never acknowledged makes room. */
async function published(
  rooms: Rooms,
  records: readonly VersionRecord[],
  { name, version }: IngestRequest,
): Promise<Found | undefined> {
  const existing = records.find((record) => record.version === version)
  // What can not be read is refused before bytes are stored: it may name any of that name.
  if (!existing && version !== undefined) await readTaken(rooms.backend, recordKey(name, version))
  if (!existing) return undefined
  const found = await findBytes(rooms.backend, existing)
  if (found) return found
  await removeBrokenRecords(rooms, [existing])
  return undefined
}

/**
 * A record that is there may still be withdrawn by its publisher, while its bytes are marked: waits
 * until that is decided. Rejects with `aborted` when it is gone, `unavailable` when nobody decides.
 */
export async function assertStands(rooms: Rooms, record: VersionRecord): Promise<void> {
  const { name, version, uuid, id, rollbackOf } = record
  const endsAtMs = performance.now() + decisionTimeMs
  for (;;) {
    const current = await readRecord(rooms.backend, recordKey(name, version))
    if (current?.id !== id) {
      throw new ImageError('aborted', `${name} ${version} was deleted meanwhile. Send it again.`)
    }
    if (await stands(rooms.backend, record)) return
    // Who has published ends its job after that, and not before.
    if (rollbackOf === undefined && !(await rooms.jobs.get(name, uuid))) return
    if (performance.now() > endsAtMs) {
      throw new ImageError('unavailable', `${name} ${version} is being deleted. Try again.`)
    }
    await delay(decisionPollMs)
  }
}

export function existsAlready(name: string): ImageError {
  return new ImageError(
    'failed_precondition',
    `${name} exists, and the request was to create it only if it does not (If-None-Match: *).`,
  )
}

/** Nothing was read: whether the bytes are others nobody knows. */
function there({ name, version }: VersionRecord): ImageError {
  return new ImageError(
    'already_exists',
    `${name} ${version} exists already. Give another version, or none for the next one, or its digest as ` +
      'checksum if it is what is wanted.',
  )
}

export function taken(existing: VersionRecord): ImageError {
  const { name, version, checksums } = existing
  return new ImageError(
    'already_exists',
    `${name} ${version} exists with other bytes (sha512 ${checksums.sha512.slice(0, 16)}…, ` +
      `${existing.size} bytes). Give another version, or none for the next one.`,
    { expected: `sha512:${checksums.sha512}` },
  )
}

/** Not the same bytes, whatever was sent: to call them so would acknowledge what nobody can read. */
export function unusable({ record, isLost }: Unserved): ImageError {
  const { name, version } = record
  return new ImageError(
    'already_exists',
    `${name} ${version} exists, and its stored bytes are ${isLost ? 'gone' : 'corrupt'}. Upload the same ` +
      'bytes to that version to have them replaced, or give another version, or none for the next one.',
  )
}
