// The bytes that records name: whether they are there, whether somebody may be removing them, and how
// they go. What is done in which order, and why, is in publish.ts and docs/layout.md.

import { type Backend, bytesOf, hasOwners } from './backend.ts'
import { orUndefined } from './errors.ts'
import { deleteHealed } from './healed.ts'
import {
  type Ingest,
  blocksKey,
  bytesKey,
  configKey,
  markKey,
  markPrefix,
  parseBytesKey,
  parseCorruptKey,
  parseMarkKey,
} from './layout.ts'
import type { Failpoint } from './publish.ts'
import { type VersionRecord, freshId } from './record.ts'
import type { Rooms } from './rooms.ts'

/** What the protocols need of the rooms. */
export type Grounds = Pick<Rooms, 'backend' | 'catalog' | 'at'>

/** The bytes that a record names, its own last. */
export function ingestsOf(record: VersionRecord): Ingest[] {
  return record.keys.map((key) => parseBytesKey(key)).filter((ingest) => ingest !== undefined)
}

/** Whether there are bytes under a key. Once they were there and are not, they never come back. */
export async function isThere(backend: Backend, key: string): Promise<boolean> {
  return (await orUndefined(backend.stat(key))) !== undefined
}

/** Whether anybody may be removing the bytes of an ingest. */
export async function isMarked(backend: Backend, { name, uuid }: Ingest): Promise<boolean> {
  for await (const { key } of backend.list(markPrefix(name, uuid))) {
    if (parseMarkKey(key)) return true
  }
  return false
}

/**
 * Whether the bytes are there and nobody may be removing them. Asked when a record that names them
 * is visible, the answer is good for as long as that record is there.
 */
export async function isHeld(backend: Backend, key: string, at?: Failpoint): Promise<boolean> {
  const ingest = parseBytesKey(key)
  const isFree = ingest !== undefined && !(await isMarked(backend, ingest))
  await at?.('marks looked for')
  return isFree && (await isThere(backend, key))
}

/** Whether bytes may be shared: nobody may be removing them, or has found them to be corrupt. */
export async function isSound(backend: Backend, key: string): Promise<boolean> {
  const ingest = parseBytesKey(key)
  if (!ingest) return false
  for await (const mark of backend.list(markPrefix(ingest.name, ingest.uuid))) {
    if (parseMarkKey(mark.key) ?? parseCorruptKey(mark.key)) return false
  }
  return await isThere(backend, key)
}

/** Whether some bytes of a visible record are held: it will not lose them. */
export async function stands(
  backend: Backend,
  record: VersionRecord,
  at?: Failpoint,
): Promise<boolean> {
  for (const key of record.keys) if (await isHeld(backend, key, at)) return true
  return false
}

/** What a mark says. */
export interface Mark extends Ingest {
  /** Of the remover, as in a claim: once it is dead for certain, it will not wake. */
  owner?: string
}

/** Bytes that this process has put a mark on. */
export interface Marked extends Ingest {
  /** The key of the mark. */
  mark: string
}

/**
 * Forbids new references to the bytes of an ingest. Of whoever removes the bytes the mark stays, for
 * as long as a paused publisher may wake.
 */
export async function markBytes(backend: Backend, { name, uuid }: Ingest): Promise<Marked> {
  const mark = markKey(name, uuid, freshId())
  const content: Mark = { name, uuid, ...(hasOwners(backend) && { owner: backend.owner }) }
  await backend.put(mark, bytesOf(`${JSON.stringify(content)}\n`), { ifAbsent: true })
  return { name, uuid, mark }
}

/** Marks of one's own on all bytes that visible records name and that are there. */
export async function markBytesOf(
  backend: Backend,
  records: Iterable<VersionRecord>,
): Promise<Marked[]> {
  const marked = new Map<string, Marked>()
  for (const record of records) {
    for (const ingest of ingestsOf(record)) {
      const key = bytesKey(ingest.name, ingest.uuid)
      if (marked.has(key) || !(await isThere(backend, key))) continue
      marked.set(key, await markBytes(backend, ingest))
    }
  }
  return [...marked.values()]
}

/** Removes bytes unless a record names them. Returns those that one names: they stay. */
export async function removeBytes(grounds: Grounds, ingests: readonly Ingest[]): Promise<Ingest[]> {
  const marked: Marked[] = []
  for (const ingest of ingests) marked.push(await markBytes(grounds.backend, ingest))
  return await removeMarked(grounds, marked)
}

/** `removeBytes` once the own marks are there. One look at the catalog serves them all. */
export async function removeMarked(grounds: Grounds, marked: readonly Marked[]): Promise<Marked[]> {
  const { backend, catalog, at } = grounds
  const kept: Marked[] = []
  if (marked.length === 0) return kept
  await at?.('mark put')
  const look = await catalog.look()
  await at?.('catalog listed')
  for (const each of marked) {
    if (look.names(each)) {
      kept.push(each)
      await backend.delete(each.mark)
      await at?.('mark taken away')
    } else {
      await deleteBytes(grounds, each)
    }
  }
  return kept
}

/** Deletes what stands beside the bytes, then the bytes: while they are there, all can be found. */
export async function deleteBytes(grounds: Grounds, { name, uuid }: Ingest): Promise<void> {
  const { backend, at } = grounds
  await backend.delete(configKey(name, uuid))
  await backend.delete(blocksKey(name, uuid))
  await at?.('config deleted')
  await backend.delete(bytesKey(name, uuid))
  await at?.('bytes deleted')
  await deleteHealed(backend, { name, uuid })
}
