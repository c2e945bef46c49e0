// Which bytes the records name, and whether a record that was seen still stands: what others publish
// and delete while a scrub runs is no fault.

import type { Stat } from '../backend.ts'
import { orUndefined } from '../errors.ts'
import { markPrefix, parseBytesKey, parseMarkKey, recordKey } from '../layout.ts'
import { readRecord } from '../publish.ts'
import type { VersionRecord } from '../record.ts'
import type { Finding, ScrubContext } from './finding.ts'

/** Bytes that one record or several name. */
export interface NamedBytes {
  key: string
  name: string
  uuid: string
  records: readonly VersionRecord[]
}

/** All bytes that records name now, by key in byte order; whether they are there is another question. */
export async function namedBytes({ rooms }: ScrubContext): Promise<NamedBytes[]> {
  const byKey = new Map<string, VersionRecord[]>()
  for (const record of (await rooms.catalog.look()).records()) {
    for (const key of record.keys) {
      const others = byKey.get(key)
      if (others) others.push(record)
      else byKey.set(key, [record])
    }
  }
  return [...byKey.entries()]
    .flatMap(([key, found]) => {
      const ingest = parseBytesKey(key)
      return ingest ? [{ key, ...ingest, records: found }] : []
    })
    .toSorted((one, other) => (one.key < other.key ? -1 : 1))
}

/** Whether the very record that was seen is there now. */
export async function stillStands(
  { rooms }: Pick<ScrubContext, 'rooms'>,
  record: VersionRecord,
): Promise<boolean> {
  const key = recordKey(record.name, record.version)
  return (await readRecord(rooms.backend, key))?.id === record.id
}

/** The bytes as they are now, if they are there and records that stand still name them. */
export async function lookAgain(
  context: Pick<ScrubContext, 'rooms'>,
  { key, records }: NamedBytes,
): Promise<{ stat: Stat; records: VersionRecord[] } | undefined> {
  const stat = await orUndefined(context.rooms.backend.stat(key))
  if (!stat) return undefined
  const found: VersionRecord[] = []
  for (const record of records) if (await stillStands(context, record)) found.push(record)
  return found.length > 0 ? { stat, records: found } : undefined
}

/** Whether anybody may be removing the bytes: what is missing of those is no fault. */
export async function isMarked(
  { rooms }: Pick<ScrubContext, 'rooms'>,
  { name, uuid }: { name: string; uuid: string },
): Promise<boolean> {
  for await (const { key } of rooms.backend.list(markPrefix(name, uuid))) {
    if (parseMarkKey(key)) return true
  }
  return false
}

/** What a finding about bytes says of whose they are. */
export function about({ key, name, uuid, records }: NamedBytes): Partial<Finding> {
  const versions = [...new Set(records.map((record) => `${record.name} ${record.version}`))]
  const [only] = records
  return versions.length === 1 && only
    ? { key, name: only.name, version: only.version, uuid }
    : { key, name, uuid }
}

/** `debian 1`, or `debian 1, debian 2 and 3 more`: the images that bytes are of. */
export function imagesOf(records: readonly VersionRecord[]): string {
  const toldMax = 3
  const all = records.map((record) => `${record.name} ${record.version}`)
  const told = all.slice(0, toldMax).join(', ')
  return all.length > toldMax ? `${told} and ${all.length - toldMax} more` : told
}
