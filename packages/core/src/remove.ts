// The way out: cancels the work, removes the records, then the bytes that no record names any more.

import { ImageError } from './errors.ts'
import type { Job } from './claim.ts'
import { type Grounds, type Marked, markBytes, markBytesOf, removeMarked } from './bytes.ts'
import { assertName, assertVersion, recordKey } from './layout.ts'
import { readRecord } from './publish.ts'
import type { VersionRecord } from './record.ts'
import { assertWritable } from './refuse.ts'
import type { Rooms } from './rooms.ts'

/**
 * Deletes one version, or everything that a name has at this moment; a publish that starts later
 * survives. Returns the versions that went; rejects with `not_found` when there is none. `onCancelled` is
 * told of work of other processes.
 */
export async function removeImage(
  rooms: Rooms,
  name: string,
  version: string | undefined,
  onCancelled: (job: Job) => void = () => {},
): Promise<string[]> {
  assertName(name)
  if (version !== undefined) assertVersion(version)
  const { backend, catalog, jobs } = rooms
  assertWritable(backend)
  const isMeant = (label: string): boolean => version === undefined || label === version
  const work = (await jobs.list(name)).filter((job) => isMeant(job.claim.version))
  const isWorkedOn = work.some((job) => !job.cancelled)
  // Jobs first: a late owner finds the mark, or itself cancelled, and withdraws.
  const marked: Marked[] = []
  for (const { uuid, end } of work) {
    if (end || !isWorkedOn) continue
    await jobs.cancel(name, uuid)
    marked.push(await markBytes(backend, { name, uuid }))
  }
  // After the jobs: what was published meanwhile is in one of the two lists, under whatever version.
  const cancelled = new Set(marked.map(({ uuid }) => uuid))
  const oldestFirst = (await catalog.fresh(name))
    .filter((record) => isMeant(record.version) || isOf(cancelled, record))
    .toReversed()
  if (oldestFirst.length === 0 && !isWorkedOn) {
    const what = version === undefined ? name : `${name} with version ${version}`
    throw new ImageError('not_found', `There is no image ${what}.`)
  }
  let kept = await removeRecords(rooms, oldestFirst, marked)
  // Published between the list above and the last look: it is what was to be deleted.
  while (kept.some(({ uuid }) => cancelled.has(uuid))) {
    const late = (await catalog.fresh(name)).filter((record) => isOf(cancelled, record))
    if (late.length === 0) break
    oldestFirst.push(...late)
    kept = await removeRecords(rooms, late)
  }
  for (const job of work) {
    await jobs.remove(name, job.uuid)
    // Its owner does what is to be done, if it still lives.
    if (cancelled.has(job.uuid) && !job.mine) onCancelled(job)
  }
  const gone = [...oldestFirst, ...work.map((job) => job.claim)]
  return [...new Set(gone.map((each) => each.version))]
}

/** A rollback is no work of those jobs, though it shares the uuid. */
function isOf(uuids: ReadonlySet<string>, { uuid, rollbackOf }: VersionRecord): boolean {
  return rollbackOf === undefined && uuids.has(uuid)
}

/**
 * Removes records, and whatever bytes of theirs, or under these marks, none names any more. Returns
 * those that one names: they stay.
 */
export async function removeRecords(
  grounds: Grounds,
  records: readonly VersionRecord[],
  marked: readonly Marked[] = [],
): Promise<Marked[]> {
  const { backend, catalog } = grounds
  // Marks before records: should this process stop between them, the sweep still knows the bytes.
  const all = [...marked, ...(await markBytesOf(backend, records))]
  for (const { name, version, id } of records) {
    const key = recordKey(name, version)
    const current = await readRecord(backend, key)
    // Another delete may have been faster, and the label be that of a new image, whose bytes have no
    // mark of ours.
    if (current && current.id !== id) continue
    if (current) await backend.delete(key)
    catalog.remove(name, version)
  }
  await grounds.at?.('records removed')
  return await removeMarked(grounds, all)
}
