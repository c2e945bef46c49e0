// What nobody works on any more is ended, and what it left is removed: the work of dead processes,
// old failures, old marks, unfinished bytes. Only ever what a job or a mark of ours names.

import {
  type Backend,
  type Stat,
  bytesOf,
  hasOwners,
  hasProbe,
  hasUnfinished,
  readAll,
} from './backend.ts'
import type { Job, OwnJob } from './claim.ts'
import { type Mark, isSound, isThere, removeBytes } from './bytes.ts'
import { orUndefined } from './errors.ts'
import { healedKeys } from './healed.ts'
import type { Jobs } from './job.ts'
import {
  type Ingest,
  bytesKey,
  ingestId,
  isOwnForm,
  jobsPrefix,
  marksPrefix,
  parseBytesKey,
  parseJobKey,
  parseMarkKey,
  recordKey,
} from './layout.ts'
import { readRecord } from './publish.ts'
import { type VersionRecord, freshId, parseObject } from './record.ts'
import type { Rooms } from './rooms.ts'
import { findBytes } from './sound.ts'
import { dropSpare } from './spare.ts'
import { settleHeal, sweepCorrupt } from './sweep-healed.ts'

const nsPerHour = 3_600_000_000_000n
const failureAgeMaxNs = 24n * nsPerHour
export const markAgeMaxNs: bigint = 7n * 24n * nsPerHour
const strayAgeMaxNs = nsPerHour
export const failuresPerNameMax = 20
export const failuresInAllMax = 1000

/** A key of nobody's, to try a store with; what is left under it is swept after an hour. */
export function canaryKey(): string {
  return `${jobsPrefix}canary-${freshId()}.json`
}

/** Writes, reads back and removes a small object; resolves with the store's own time. */
export async function probe(backend: Backend): Promise<bigint> {
  const key = canaryKey()
  const { modifiedAt } = await backend.put(key, bytesOf('{}\n'), { ifAbsent: true })
  try {
    await backend.stat(key)
  } finally {
    await backend.delete(key)
  }
  return modifiedAt
}

/** Whether the storage works: a `probe`; only a look where nothing may be written. */
export async function checkStorage(backend: Backend): Promise<void> {
  const isReadOnly = hasProbe(backend) && backend.writeRefusal !== undefined
  if (isReadOnly) await orUndefined(backend.stat(canaryKey()))
  else await probe(backend)
}

/**
 * Ends work whose owner is dead or silent. The work of an upload can not go on without its client:
 * it becomes `failed`. Returns the failed job, if that is what it is now.
 */
export async function settle(rooms: Rooms, job: Job): Promise<Job | undefined> {
  const { catalog, jobs } = rooms
  const { name, uuid } = job
  const own = await jobs.takeOver(job)
  if (!own) return undefined
  try {
    if (job.claim.heals !== undefined) {
      await settleHeal(rooms, job, job.claim.heals)
      return undefined
    }
    const published = (await catalog.fresh(name)).find((record) => record.uuid === uuid)
    if (published) await dropSpare(rooms, published)
    else await removeBytes(rooms, [{ name, uuid }])
    if (published || job.cancelled || own.stopped === 'deleted') {
      await jobs.remove(name, uuid)
      return undefined
    }
    await fail(rooms, own, {
      reason: 'storage_unavailable',
      message:
        'The server that received this upload stopped, or lost its storage, before it was complete. ' +
        'Send it again.',
      endedAt: new Date().toISOString(),
    })
    return await jobs.get(name, uuid)
  } finally {
    jobs.release(own)
  }
}

/** Writes the outcome of own work, and keeps the number of failures within its limits. */
export async function fail(rooms: Rooms, own: OwnJob, end: NonNullable<Job['end']>): Promise<void> {
  await rooms.jobs.end(own, end)
  await pruneFailures(rooms.jobs)
}

async function pruneFailures(jobs: Jobs, nowNs?: bigint): Promise<void> {
  const failures = (await jobs.list())
    .filter((job) => job.end)
    .toSorted((a, b) => ((a.endedAtNs ?? 0n) > (b.endedAtNs ?? 0n) ? -1 : 1))
  const ofName = new Map<string, number>()
  for (const [index, job] of failures.entries()) {
    const count = (ofName.get(job.name) ?? 0) + 1
    ofName.set(job.name, count)
    const old = nowNs !== undefined && nowNs - (job.endedAtNs ?? nowNs) > failureAgeMaxNs
    if (old || count > failuresPerNameMax || index >= failuresInAllMax) {
      await jobs.remove(job.name, job.uuid)
    }
  }
}

/** One round over everything that may be left behind. */
export async function sweep(rooms: Rooms): Promise<void> {
  const { backend, jobs } = rooms
  const nowNs = await probe(backend)
  await sweepUnfinished(backend, jobs, nowNs)
  await pruneFailures(jobs, nowNs)
  await sweepStrayJobFiles(backend, nowNs)
  const marks = await allMarks(backend)
  await sweepMarks(rooms, marks, nowNs)
  await sweepCorrupt(rooms, marks)
}

/** Unfinished puts first, then their jobs: one that begins meanwhile is not looked at. */
async function sweepUnfinished(backend: Backend, jobs: Jobs, nowNs: bigint): Promise<void> {
  if (!hasUnfinished(backend)) return
  const found = []
  for await (const put of backend.unfinished()) found.push(put)
  for (const put of found) {
    // Other programs may be uploading to the same bucket.
    if (!isOwnForm(put.key)) continue
    const bytes = parseBytesKey(put.key)
    // Bytes belong to a job, and nothing else of ours takes an hour to write.
    const stray = bytes
      ? await isNobodys(jobs, bytes.name, bytes.uuid)
      : nowNs - put.modifiedAt > strayAgeMaxNs
    if (stray) await backend.discard(put.id)
  }
}

/** Whether no work stands for the bytes, be it that it has ended. */
export async function isNobodys(jobs: Jobs, name: string, uuid: string): Promise<boolean> {
  if (jobs.own(name, uuid)) return false
  const job = await jobs.get(name, uuid)
  return !job || job.end !== undefined
}

/** Files of a job whose first claim has gone: a late beat, or what a removal left. */
async function sweepStrayJobFiles(backend: Backend, nowNs: bigint): Promise<void> {
  const claimed = new Set<string>()
  const ended = new Set<string>()
  const others: Stat[] = []
  for await (const stat of backend.list(jobsPrefix)) {
    const file = parseJobKey(stat.key)
    if (file?.kind === 'end') ended.add(folderOf(stat.key))
    if (file?.kind === 'claim' && file.epoch === 1) claimed.add(folderOf(stat.key))
    else if (file || stat.key.startsWith(`${jobsPrefix}canary-`)) others.push(stat)
  }
  for (const stat of others) {
    const old = nowNs - stat.modifiedAt > strayAgeMaxNs
    const isStray = old && !claimed.has(folderOf(stat.key))
    // Secrets are kept until the work ends, and no longer; whoever ended it may have died in between.
    const isSpent = parseJobKey(stat.key)?.kind === 'source' && ended.has(folderOf(stat.key))
    if (isStray || isSpent) await backend.delete(stat.key)
  }
}

function folderOf(key: string): string {
  return key.slice(0, key.lastIndexOf('/'))
}

async function allMarks(backend: Backend): Promise<Stat[]> {
  const marks: Stat[] = []
  for await (const stat of backend.list(marksPrefix)) marks.push(stat)
  return marks
}

/**
 * Marks go after a week; before that each forbids new references. Bytes that a paused owner stored
 * under a mark are removed, and so is a record that was never acknowledged: its bytes are gone.
 */
export async function sweepMarks(
  rooms: Rooms,
  marks: readonly Stat[],
  nowNs: bigint,
): Promise<void> {
  const { backend, jobs } = rooms
  const marked = new Map<string, Ingest>()
  const own: { stat: Stat; id: string }[] = []
  for (const stat of marks) {
    const ingest = parseMarkKey(stat.key)
    if (!ingest) continue
    const id = ingestId(ingest.name, ingest.uuid)
    marked.set(id, ingest)
    own.push({ stat, id })
  }
  // After the marks: who puts bytes in the place of others looks for marks on them after that.
  const inUse = await healedKeys(backend)
  const gone = new Set<string>()
  const nobodys = new Map<string, Ingest>()
  for (const [id, ingest] of marked) {
    const { name, uuid } = ingest
    if (!(await isThere(backend, bytesKey(name, uuid)))) gone.add(id)
    if (await isNobodys(jobs, name, uuid)) nobodys.set(id, ingest)
  }
  const mayGo = ([id, { name, uuid }]: [string, Ingest]): boolean =>
    !gone.has(id) && !inUse.has(bytesKey(name, uuid))
  const kept = await removeBytes(
    rooms,
    [...nobodys].filter(mayGo).map(([, ingest]) => ingest),
  )
  const named = new Set(kept.map(({ name, uuid }) => ingestId(name, uuid)))
  await removeRecordsOf(
    rooms,
    [...marked].filter(([id]) => gone.has(id)).map(([, { name, uuid }]) => bytesKey(name, uuid)),
  )
  for (const { stat, id } of own) {
    const ingest = nobodys.get(id)
    const isOld = nowNs - stat.modifiedAt > markAgeMaxNs
    // A remover that was killed may have left the empty folder of bytes that it took away.
    if (isOld && gone.has(id) && ingest) await backend.delete(bytesKey(ingest.name, ingest.uuid))
    if (isOld || (named.has(id) && (await isDeadOnes(backend, stat.key)))) {
      await backend.delete(stat.key)
    }
  }
}

/** Removes the records that name any of these keys, and no bytes that are there. */
async function removeRecordsOf(rooms: Rooms, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return
  const gone = new Set(keys)
  const records = (await rooms.catalog.look()).records()
  const broken = records.filter((record) => record.keys.some((key) => gone.has(key)))
  await removeBrokenRecords(rooms, broken)
}

/** Whether the remover that put the mark is dead for certain: it will not wake and go on. */
export async function isDeadOnes(backend: Backend, mark: string): Promise<boolean> {
  if (!hasOwners(backend)) return false
  const bytes = await orUndefined(backend.get(mark))
  const { owner } = parseObject(mark, bytes ? (await readAll(bytes)).toString() : '{}') as Mark
  return owner !== undefined && (await backend.isGone(owner))
}

/** Removes those of the records whose bytes are all gone: they were not acknowledged. */
export async function removeBrokenRecords(
  rooms: Rooms,
  records: readonly VersionRecord[],
): Promise<void> {
  const { backend, catalog } = rooms
  for (const record of records) {
    if (await findBytes(backend, record)) continue
    const key = recordKey(record.name, record.version)
    if ((await readRecord(backend, key))?.id !== record.id) continue
    await backend.delete(key)
    catalog.remove(record.name, record.version)
  }
}

/**
 * Finds the spares that were left: of a publisher that found the shared bytes marked, or that a failing
 * storage kept from it. Deletes them, unless only a list is wanted. Returns their keys.
 */
export async function sweepSpares(
  rooms: Rooms,
  options: { isDryRun?: boolean } = {},
): Promise<string[]> {
  const { backend, catalog, jobs } = rooms
  const found: string[] = []
  for (const record of (await catalog.look()).records()) {
    const [shared, spare] = record.keys
    if (shared === undefined || spare === undefined) continue
    // Its publisher, if there still is one, does it itself.
    const isOver = async (): Promise<boolean> => await isNobodys(jobs, record.name, record.uuid)
    if (!(await isOver()) || !(await isThere(backend, spare))) continue
    const isLeft = options.isDryRun
      ? await isSound(backend, shared)
      : await dropSpare(rooms, record)
    if (isLeft) found.push(spare)
  }
  return found
}
