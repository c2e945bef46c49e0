// Publishing and removing, so that they never meet badly: on any replica, at any speed, without a
// clock (docs/layout.md, "Publishing and removing"). Both are a few steps over the backend alone.
//
// Publisher: (1) create the record; (2) past every cache, read it back, look for any mark on its
// bytes, stat the bytes; (3) no mark and bytes there: it is published. Else it withdraws: it removes
// its record as a remover does.
// Remover: (1) put a mark of its own on the bytes; (2) remove the records it was asked to remove;
// (3) list the records afresh; (4) if one names the bytes, leave them and take the own mark away;
// else delete the bytes and leave the mark.
//
// Why it holds: a publisher that succeeded saw no mark after its record was visible, so every later
// remover finds that record. Nobody takes another's mark away: its remover may be paused before (4).

import { setTimeout as delay } from 'node:timers/promises'
import { type Backend, bytesOf, hasOwners, readAll } from './backend.ts'
import { ImageError, isImageError, orUndefined } from './errors.ts'
import {
  blocksKey,
  bytesKey,
  configKey,
  markKey,
  markPrefix,
  parseBytesKey,
  parseMarkKey,
  recordKey,
  recordPrefix,
} from './layout.ts'
import { type VersionRecord, formatRecord, freshId, parseRecord } from './record.ts'

/** A place where a test may pause, fail or kill the work; does nothing in production. */
export type Failpoint = (step: Step) => Promise<void> | void

export type Step =
  | 'claimed'
  | 'bytes stored'
  | 'config stored'
  | 'record created'
  | 'record read back'
  | 'marks looked for'
  | 'withdrawing'
  | 'published'
  | 'records removed'
  | 'mark put'
  | 'catalog listed'
  | 'config deleted'
  | 'bytes deleted'
  | 'mark taken away'

export interface ProtocolOptions {
  at?: Failpoint
  signal?: AbortSignal
}

const retryDelayMs = 500
/** Of asking again what an unclear answer meant: who waits is to hear of an outage within seconds. */
const clearUpTimeMs = 5000

/**
 * Publishes a record whose bytes are stored. Resolves when it is there for good. Rejects with
 * `already_exists` when another record has that name and version, and with `aborted` when somebody
 * is removing the bytes: the record is withdrawn then.
 */
export async function publish(
  backend: Backend,
  record: VersionRecord,
  options: ProtocolOptions = {},
): Promise<void> {
  const key = recordKey(record.name, record.version)
  assertOwnBytes(record)
  await createRecord(backend, key, record, options.signal)
  await options.at?.('record created')
  const stands = await readRecord(backend, key)
  await options.at?.('record read back')
  const marked = await isMarked(backend, record)
  await options.at?.('marks looked for')
  if (stands?.id === record.id && !marked && (await firstKey(backend, record)) !== undefined) {
    await options.at?.('published')
    return
  }
  await options.at?.('withdrawing')
  await withdraw(backend, key, record, options)
  throw new ImageError(
    'aborted',
    `${record.name} ${record.version} was deleted while it was being published; nothing is left ` +
      'of it. Send it again if it is still wanted.',
  )
}

/**
 * As a remover, with marks of its own before the record goes: who removed the bytes' other records
 * may have seen this one, and left the bytes to it.
 */
async function withdraw(
  backend: Backend,
  key: string,
  record: VersionRecord,
  options: ProtocolOptions,
): Promise<void> {
  // Only its own: the label may have been removed and taken by somebody else meanwhile.
  const current = await readRecord(backend, key)
  if (current?.id !== record.id) return
  const marks = new Map<string, string>()
  for (const { name, uuid } of bytesOfRecord(record)) {
    marks.set(uuid, await markBytes(backend, name, uuid))
  }
  await backend.delete(key)
  for (const [uuid, mark] of marks) await removeMarked(backend, record.name, uuid, mark, options)
}

function bytesOfRecord(record: VersionRecord): { name: string; uuid: string }[] {
  return record.keys.map((key) => parseBytesKey(key)).filter((bytes) => bytes !== undefined)
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
        const current = await readRecord(backend, key).catch((problem: unknown) => {
          // One that can not be read is not this one, and has the label all the same.
          if (!isImageError(problem, 'data_loss')) throw problem
        })
        if (current?.id === record.id) return
        throw error
      }
      const isUnclear = isImageError(error, 'unavailable', 'deadline_exceeded')
      if (!isUnclear || signal?.aborted || performance.now() > endsAtMs) throw error
    }
    await delay(retryDelayMs)
  }
}

/** A record names only bytes of its own name: a remover needs to read no other name's records. */
function assertOwnBytes(record: VersionRecord): void {
  for (const key of record.keys) {
    if (parseBytesKey(key)?.name !== record.name) {
      throw new ImageError('internal', `${key} is not for a record of ${record.name}.`)
    }
  }
}

/** Whether anybody may be removing the bytes of a record. */
export async function isMarked(backend: Backend, record: VersionRecord): Promise<boolean> {
  for (const { name, uuid } of bytesOfRecord(record)) {
    for await (const { key } of backend.list(markPrefix(name, uuid))) {
      if (parseMarkKey(key)) return true
    }
  }
  return false
}

/** The first of a record's keys whose bytes exist, with their Stat. */
export async function firstKey(
  backend: Backend,
  record: VersionRecord,
): Promise<string | undefined> {
  for (const key of record.keys) {
    if (await orUndefined(backend.stat(key))) return key
  }
  return undefined
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

/** What a mark says. */
export interface Mark {
  name: string
  uuid: string
  /** Of the remover, as in a claim: once it is dead for certain, it will not wake. */
  owner?: string
}

/**
 * Forbids new references to the bytes of an ingest. Returns the mark, for `removeMarked`: it stays
 * for as long as a paused publisher may wake.
 */
export async function markBytes(backend: Backend, name: string, uuid: string): Promise<string> {
  const mark = markKey(name, uuid, freshId())
  const content: Mark = { name, uuid, ...(hasOwners(backend) && { owner: backend.owner }) }
  await backend.put(mark, bytesOf(`${JSON.stringify(content)}\n`), { ifAbsent: true })
  return mark
}

/** Removes the bytes of one ingest unless a record names them. Returns whether it removed them. */
export async function removeBytes(
  backend: Backend,
  name: string,
  uuid: string,
  options: ProtocolOptions = {},
): Promise<boolean> {
  return await removeMarked(backend, name, uuid, await markBytes(backend, name, uuid), options)
}

/** `removeBytes` once the own mark is there. */
export async function removeMarked(
  backend: Backend,
  name: string,
  uuid: string,
  mark: string,
  options: ProtocolOptions = {},
): Promise<boolean> {
  await options.at?.('mark put')
  const named = await isNamed(backend, name, bytesKey(name, uuid))
  await options.at?.('catalog listed')
  if (named) {
    await backend.delete(mark)
    await options.at?.('mark taken away')
    return false
  }
  await backend.delete(configKey(name, uuid))
  await backend.delete(blocksKey(name, uuid))
  await options.at?.('config deleted')
  await backend.delete(bytesKey(name, uuid))
  await options.at?.('bytes deleted')
  return true
}

/** Whether any record of the name points at the bytes, asked of the store itself. */
async function isNamed(backend: Backend, name: string, bytes: string): Promise<boolean> {
  for await (const stat of backend.list(recordPrefix(name))) {
    try {
      const record = await readRecord(backend, stat.key)
      if (record?.keys.includes(bytes)) return true
    } catch (error) {
      // What can not be read may name them: never delete on a guess.
      if (isImageError(error, 'data_loss')) return true
      throw error
    }
  }
  return false
}
