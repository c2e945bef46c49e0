// Publishing and removing, so that they never meet badly: on any replica, at any speed, without a
// clock (docs/layout.md, "Publishing and removing"). Both are a few steps over the backend alone.
//
// Publisher: (1) create the record; (2) past every cache, read it back, and for each of its keys
// look for any mark on the bytes and stat them; (3) no mark and bytes there, for one of them, and no
// mark on those that came with it: it is published. Else it withdraws: it removes its record as a
// remover does.
// Remover: (1) put a mark of its own on the bytes; (2) remove the records it was asked to remove;
// (3) list the records afresh, of all names; (4) if one names the bytes, leave them and take the own
// mark away; else delete the bytes and leave the mark.
//
// Why it holds: a publisher that succeeded saw no mark after its record was visible, so every later
// remover finds that record. Nobody takes another's mark away: its remover may be paused before (4).

import { setTimeout as delay } from 'node:timers/promises'
import { type Backend, bytesOf, readAll } from './backend.ts'
import { type Grounds, isMarked, markBytesOf, removeMarked, stands } from './bytes.ts'
import { ImageError, isImageError, orUndefined } from './errors.ts'
import { bytesKey, parseBytesKey, recordKey } from './layout.ts'
import { type VersionRecord, formatRecord, parseRecord } from './record.ts'

/** A place where a test may pause, fail or kill the work; does nothing in production. */
export type Failpoint = (step: Step) => Promise<void> | void

/** Every named place, in the order in which an upload and then a removal come by. */
export type Step =
  | 'claimed'
  | 'bytes stored'
  | 'config stored'
  | 'record created'
  | 'record read back'
  | 'marks looked for'
  | 'withdrawing'
  | 'published'
  | 'spare marked'
  | 'spare not needed'
  | 'spare deleted'
  | 'records removed'
  | 'mark put'
  | 'catalog listed'
  | 'config deleted'
  | 'bytes deleted'
  | 'mark taken away'

const retryDelayMs = 500
/** Of asking again what an unclear answer meant: who waits is to hear of an outage within seconds. */
const clearUpTimeMs = 5000

/**
 * Publishes a record whose bytes are stored. Resolves when it is there for good. Rejects with
 * `already_exists` when another record has that name and version, and with `aborted` when somebody
 * is removing the bytes: the record is withdrawn then.
 */
export async function publish(
  grounds: Grounds,
  record: VersionRecord,
  signal?: AbortSignal,
): Promise<void> {
  const { backend, at } = grounds
  const key = recordKey(record.name, record.version)
  assertKeys(record)
  await createRecord(backend, key, record, signal)
  await at?.('record created')
  const current = await readRecord(backend, key)
  await at?.('record read back')
  const isHeldBack = current?.id !== record.id || (await isRevoked(backend, record))
  if (!isHeldBack && (await stands(backend, record, at))) {
    await at?.('published')
    return
  }
  await at?.('withdrawing')
  await withdraw(grounds, key, record)
  throw new ImageError(
    'aborted',
    `${record.name} ${record.version} was deleted while it was being published; nothing is left ` +
      'of it. Send it again if it is still wanted.',
  )
}

/**
 * Whether somebody has marked the bytes that came with the record: the work was cancelled, or taken for
 * dead. Shared bytes must not save what was deleted. A rollback brings none.
 */
async function isRevoked(backend: Backend, record: VersionRecord): Promise<boolean> {
  if (record.rollbackOf !== undefined || record.keys.length === 1) return false
  return await isMarked(backend, record)
}

/**
 * As a remover, with marks of its own before the record goes: who removed the bytes' other records
 * may have seen this one, and left the bytes to it.
 */
async function withdraw(grounds: Grounds, key: string, record: VersionRecord): Promise<void> {
  const { backend } = grounds
  // Only its own: the label may have been removed and taken by somebody else meanwhile.
  const current = await readRecord(backend, key)
  if (current?.id !== record.id) return
  const marked = await markBytesOf(backend, [record])
  await backend.delete(key)
  await removeMarked(grounds, marked)
}

/**
 * Repeats the same exclusive put until the answer is definite, for some seconds: what is unclear may
 * have happened. What stays so is `unavailable`; the end of the lease decides then.
 */
async function createRecord(
  backend: Backend,
  key: string,
  record: VersionRecord,
  signal?: AbortSignal,
): Promise<void> {
  const content = formatRecord(record)
  const endsAtMs = performance.now() + clearUpTimeMs
  for (;;) {
    try {
      await backend.put(key, bytesOf(content), { ifAbsent: true })
      return
    } catch (error) {
      if (isImageError(error, 'already_exists')) {
        const current = await readTaken(backend, key)
        if (current?.id === record.id) return
        throw error
      }
      const isUnclear = isImageError(error, 'unavailable', 'deadline_exceeded')
      if (!isUnclear || signal?.aborted || performance.now() > endsAtMs) throw error
    }
    await delay(retryDelayMs)
  }
}

/** As `readRecord`. What can not be read has the label all the same: `already_exists` says what to do. */
export async function readTaken(backend: Backend, key: string): Promise<VersionRecord | undefined> {
  try {
    return await readRecord(backend, key)
  } catch (error) {
    if (!isImageError(error, 'data_loss')) throw error
    throw new ImageError(
      'already_exists',
      `${key}, the record of that version, can not be read: ${error.message} A scrub tells of it, too. Put ` +
        'it back from a backup or delete it by hand, or give another version.',
      { cause: error },
    )
  }
}

/** The last key is that of the record's own ingest; one of any name may stand before it. */
function assertKeys(record: VersionRecord): void {
  const { name, uuid, keys } = record
  const isWhole = keys.length <= 2 && keys.at(-1) === bytesKey(name, uuid)
  if (isWhole && keys.every((key) => parseBytesKey(key))) return
  throw new ImageError('internal', `${keys.join()} are no keys for a record of ${name}-${uuid}.`)
}

/** A record as it stands now; undefined when there is none. */
export async function readRecord(
  backend: Backend,
  key: string,
): Promise<VersionRecord | undefined> {
  const bytes = await orUndefined(backend.get(key))
  if (!bytes) return undefined
  return parseRecord(key, (await readAll(bytes)).toString())
}
