// The step that looks at the records: whether each can be read, and whether its bytes are there.

import type { Stat } from '../backend.ts'
import { asError, isImageError } from '../errors.ts'
import {
  catalogPrefix,
  ingestId,
  markPrefix,
  parseBytesKey,
  parseMarkKey,
  parseRecordKey,
  recordKey,
} from '../layout.ts'
import { readRecord } from '../publish.ts'
import type { VersionRecord } from '../record.ts'
import { findBytes } from '../sound.ts'
import { removeBrokenRecords } from '../sweep.ts'
import { type Finding, type ScrubContext, type Step, isLeft, mended } from './finding.ts'
import { listRoot } from './folders.ts'
import { stillStands } from './named.ts'
import { Notes } from './notes.ts'

const step = 'records'

export const recordsStep: Step = {
  name: step,
  what: 'records that can not be read, and records whose bytes are gone',
  run,
}

async function* run(context: ScrubContext): AsyncGenerator<Finding> {
  const { backend, catalog } = context.rooms
  const { found } = await catalog.look()
  const notes = new Notes(step, (count) => `${count} more objects in .catalog are no records.`)
  for await (const { key } of backend.list(catalogPrefix)) {
    context.checked(1)
    if (found.get(key)?.record) continue
    if (parseRecordKey(key)) yield* unreadable(context, key)
    else yield* notes.add({ key, what: `${key} is no record and not ours: it is left as it is.` })
  }
  yield* notes.rest()
  // After the records: bytes that a record names were there before it.
  const { folders } = await listRoot(backend, (objects) => context.checked(objects))
  for (const { record } of found.values()) {
    context.checked(0)
    if (!record) continue
    const isThere = record.keys.some((key) => {
      const bytes = parseBytesKey(key)
      return bytes && folders.get(ingestId(bytes.name, bytes.uuid))?.bytes !== undefined
    })
    if (!isThere) yield* withoutBytes(context, record)
  }
}

/** A record that no look could read. It may also be gone, or published, since then. */
async function* unreadable(context: ScrubContext, key: string): AsyncGenerator<Finding> {
  const about = { step, level: 'fault', key, ...parseRecordKey(key), repair: 'none' } as const
  const how =
    'Put it back from a backup, or delete it and upload the image again; until then nothing'
  try {
    const record = await readRecord(context.rooms.backend, key)
    if (!record || recordKey(record.name, record.version) === key) return
    const what = `${key} is the record of ${record.name} ${record.version}, and is ignored here.`
    yield { ...about, what: `${what} ${how} of that name is removed.` }
  } catch (error) {
    if (!isImageError(error, 'data_loss')) throw error
    yield { ...about, what: `${asError(error).message} ${how} of that name is removed.` }
  }
}

/**
 * A record none of whose bytes are there. With a mark on them it was never acknowledged; without one
 * somebody else has taken them away, and the record is all that tells what they were.
 */
async function* withoutBytes(
  context: ScrubContext,
  record: VersionRecord,
): AsyncGenerator<Finding> {
  const { rooms } = context
  const found = await findBytes(rooms.backend, record)
  const isLost = found?.corruption !== undefined && found.isLost
  rooms.catalog.note(record, isLost)
  if (found && !isLost) return
  const marks = await marksOf(context, record)
  // Last of all: a remover marks first, and removes the record before the bytes.
  if (!(await stillStands(context, record))) return
  const { name, version, uuid } = record
  const about = { step, key: recordKey(name, version), name, version, uuid }
  if (marks.length === 0) {
    const sha512 = `sha512:${record.checksums.sha512}`
    const what =
      `The bytes of ${name} ${version} are gone, and this store has not deleted them. Put the file ` +
      `back as ${record.keys[0]} (${record.size} bytes), or upload the same bytes as that version.`
    yield { ...about, level: 'fault', what, expected: sha512, repair: 'none' }
    return
  }
  const isOld = await isLeft(context, marks.reduce(oldest))
  const what = `${name} ${version} names only bytes that were deleted: it was never acknowledged.`
  yield await mended(context, { ...about, level: isOld ? 'fault' : 'note', what }, async () => {
    await removeBrokenRecords(rooms, [record])
  })
}

async function marksOf(context: ScrubContext, record: VersionRecord): Promise<bigint[]> {
  const found: Stat[] = []
  for (const key of record.keys) {
    const bytes = parseBytesKey(key)
    if (!bytes) continue
    for await (const stat of context.rooms.backend.list(markPrefix(bytes.name, bytes.uuid))) {
      if (parseMarkKey(stat.key)) found.push(stat)
    }
  }
  return found.map((stat) => stat.modifiedAt)
}

function oldest(one: bigint, other: bigint): bigint {
  return one < other ? one : other
}
