// Bytes that are not what was stored are marked, so that nobody is given them; and where another copy is
// to be had, in this store or where the image came from, verified bytes take their place. They have a
// folder of their own, which the mark of the corrupt ones names.

import { removeBytes } from '../bytes.ts'
import type { OwnJob } from '../claim.ts'
import { type Corruption, readCorruption, writeCorruption } from '../corrupt.ts'
import { ImageError, isImageError, orUndefined } from '../errors.ts'
import { bytesKey, parseBytesKey } from '../layout.ts'
import { pull } from '../pull/run.ts'
import type { Source } from '../pull/source.ts'
import type { Parameters, VersionRecord } from '../record.ts'
import type { Rooms } from '../rooms.ts'
import { isRedacted } from '../source/redact.ts'
import type { ScrubContext } from './finding.ts'
import { type NamedBytes, isMarked, stillStands } from './named.ts'

/** So many other bytes of the same content are tried at most. */
const twinsMax = 8

/** Where sound bytes may be. */
interface Copy {
  /** For messages. */
  what: string
  source: Source
  parameters: Parameters
}

/**
 * Marks bytes as corrupt, and replaces them. What their mark says already is given: where it says something
 * else by now, somebody was faster. Rejects with `data_loss` when there is nothing to replace
 * them by: they stay marked, and their images are failed. Resolves with the key of the sound bytes.
 */
export async function heal(
  context: ScrubContext,
  bytes: NamedBytes,
  { expected, actual, healedBy }: Corruption,
): Promise<string> {
  const { backend } = context.rooms
  const mark = { expected, actual }
  await assertAlone(context.rooms, bytes.key)
  const before = await readCorruption(backend, bytes)
  if (before && before.healedBy !== healedBy) {
    throw new ImageError('aborted', 'They were replaced meanwhile.')
  }
  if (!before || healedBy !== undefined) await writeCorruption(backend, bytes, mark)
  // What healed them has turned bad, too, or is gone.
  const useless = healedBy === undefined ? undefined : parseBytesKey(healedBy)
  if (useless) await removeBytes(context.rooms, [useless])
  const failures: string[] = []
  for await (const copy of copiesOf(context, bytes)) {
    try {
      return await replace(context, bytes, copy, mark)
    } catch (error) {
      context.signal.throwIfAborted()
      if (!isImageError(error)) throw error
      failures.push(`${copy.what}: ${error.message}`)
    }
  }
  if (!(await isAnyThere(context, bytes))) {
    // Who deleted them may have been faster than the marks that were written here.
    await removeBytes(context.rooms, [bytes])
    throw new ImageError('aborted', 'The images were deleted meanwhile.')
  }
  const tried = failures.length === 0 ? 'No other copy of them is known.' : failures.join(' ')
  throw new ImageError(
    'data_loss',
    `${tried} Upload the same bytes again, under one of those versions.`,
  )
}

async function* copiesOf(context: ScrubContext, bytes: NamedBytes): AsyncGenerator<Copy> {
  yield* twinsOf(context, bytes)
  const asked = new Set<string>()
  for (const { sourceType, parameters } of bytes.records) {
    const source = context.sources[sourceType]
    const told = JSON.stringify([sourceType, parameters])
    // One that makes something elsewhere would make it of what is there now.
    if (!source || source.clearUp || asked.has(told) || isRedacted(parameters)) continue
    asked.add(told)
    yield { what: `Its source (${sourceType})`, source, parameters }
  }
}

/** Other bytes of this store that should be the same. */
async function* twinsOf(
  { rooms, rate }: ScrubContext,
  { key, records: [own] }: NamedBytes,
): AsyncGenerator<Copy> {
  const { backend } = rooms
  const keys = new Set<string>()
  for (const { checksums, size, keys: others } of (await rooms.catalog.look()).records()) {
    const isSame = checksums.sha512 === own?.checksums.sha512 && size === own.size
    if (isSame) for (const other of others) if (other !== key) keys.add(other)
  }
  for (const twin of [...keys].slice(0, twinsMax)) {
    const ingest = parseBytesKey(twin)
    const stat = await orUndefined(backend.stat(twin))
    if (!ingest || !stat || (await readCorruption(backend, ingest))) continue
    const source: Source = {
      check: async () => {},
      shown: (parameters) => parameters,
      open: async ({ signal }) => {
        const bytes = await backend.get(twin, { lend: true, signal })
        return { size: stat.size, offset: 0, expected: [], bytes: rate.pace(bytes, signal) }
      },
    }
    yield { what: `The same content in ${twin}`, source, parameters: {} }
  }
}

/** Stores a copy as the work of a job, so that everybody knows whose bytes these are while they come. */
async function replace(
  context: ScrubContext,
  bytes: NamedBytes,
  copy: Copy,
  mark: Corruption,
): Promise<string> {
  const { jobs } = context.rooms
  const [record] = bytes.records
  if (!record) throw new ImageError('aborted', 'The images were deleted meanwhile.')
  const own = await jobs.begin({
    name: bytes.name,
    version: record.version,
    versionGiven: true,
    description: {
      sourceType: 'upload',
      parameters: {},
      labels: {},
      dataEngine: record.dataEngine,
      minNumberOfCopies: 0,
      nodeSelector: [],
      diskSelector: [],
      expected: [`sha512:${record.checksums.sha512}`],
    },
    heals: bytes.key,
  })
  const { name, uuid } = own.claim
  try {
    await assertAlone(context.rooms, bytes.key, uuid)
    await fetch(context, own, record, copy)
    await jobs.assertOwned(own)
    await point(context, bytes, own, mark)
  } catch (error) {
    await leave(context, own)
    throw error
  }
  jobs.release(own)
  await jobs.remove(name, uuid)
  return bytesKey(name, uuid)
}

/**
 * Throws while work of others replaces the bytes. Of two that claim before they look at least one sees
 * the other: neither takes the place of what the other has put there, which nothing would name then.
 */
export async function assertAlone({ jobs }: Rooms, key: string, uuid?: string): Promise<void> {
  const others = (await jobs.all()).filter((job) => job.claim.heals === key && job.uuid !== uuid)
  if (others.length === 0) return
  throw new ImageError('unavailable', `${key} is being replaced already. Try again.`)
}

/** The bytes come as those of any pull do, and nothing is stored that is not what the record says. */
async function fetch(
  { rooms, hasher, signal }: ScrubContext,
  own: OwnJob,
  record: VersionRecord,
  { source, parameters }: Copy,
): Promise<void> {
  const { sha512 } = record.checksums
  await pull({
    rooms,
    hasher,
    own,
    source,
    parameters,
    sizeMax: Math.max(record.size, record.packed?.size ?? 0),
    signal: AbortSignal.any([signal, own.signal]),
    settle: async (digests) => {
      if (digests.sha512 === sha512) return
      throw new ImageError('data_loss', 'What it has is not what was stored.', {
        reason: 'checksum_mismatch',
        expected: `sha512:${sha512}`,
        actual: `sha512:${digests.sha512}`,
      })
    },
    onProgress: () => {},
    onTrouble: rooms.onProblem,
  })
}

/**
 * As a publisher: the mark names the new bytes, then it is looked whether somebody may be removing them,
 * having taken this process for dead, or whether nobody needs them any more.
 */
export async function point(
  context: Pick<ScrubContext, 'rooms'>,
  bytes: NamedBytes,
  own: OwnJob,
  mark: Corruption,
): Promise<void> {
  const { backend } = context.rooms
  const { name, uuid } = own.claim
  const healedBy = bytesKey(name, uuid)
  await writeCorruption(backend, bytes, { ...mark, healedBy })
  const isThere = (await orUndefined(backend.stat(healedBy))) !== undefined
  const isHeld = isThere && !(await isMarked(context, { name, uuid }))
  if (isHeld && (await isAnyThere(context, bytes))) return
  await writeCorruption(backend, bytes, mark)
  throw new ImageError('aborted', 'The images were deleted, or this process taken for dead.')
}

async function isAnyThere(
  context: Pick<ScrubContext, 'rooms'>,
  { records }: NamedBytes,
): Promise<boolean> {
  const standing = await Promise.all(records.map((each) => stillStands(context, each)))
  return standing.includes(true)
}

/** Who has lost its epoch leaves everything to its successor. */
export async function leave({ rooms }: Pick<ScrubContext, 'rooms'>, own: OwnJob): Promise<void> {
  const { jobs } = rooms
  const { name, uuid, epoch } = own.claim
  const job = await jobs.get(name, uuid)
  if (!job || job.epoch === epoch) {
    if (own.bytesGiven) await removeBytes(rooms, [{ name, uuid }])
    await jobs.remove(name, uuid)
  }
  jobs.release(own)
}
