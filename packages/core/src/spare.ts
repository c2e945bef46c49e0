// The same content is kept once: a record may name bytes that are there already, of whatever name, and
// then its own copy, the spare, which goes as soon as it is certain that nobody needs it.
//
// Dropping a spare: (1) put a mark of one's own on it; (2) list the records of its name afresh: each
// that names the spare names the same shared bytes first; (3) the shared bytes have no mark and are
// there; (4) delete the spare; then take the own mark away. Else only take it away.
//
// Why it holds: only records of the spare's own name ever name it, for others share first keys alone.
// A record that was visible before (2) has, by (3), bytes that every later remover leaves to it. One
// that becomes visible later finds the mark, or the spare gone, and does not rely on the spare. The
// mark may go after the spare, whose bytes never come back.

import type { Backend } from './backend.ts'
import type { Digests } from './checksum.ts'
import { type Grounds, deleteBytes, isSound, markBytes } from './bytes.ts'
import { isImageError, orUndefined } from './errors.ts'
import { parseBytesKey } from './layout.ts'
import type { VersionRecord } from './record.ts'
import type { Rooms } from './rooms.ts'

/** So many different bytes of the same content are tried at most. */
const candidatesMax = 8

/** What is known of an image's content. */
export interface Content {
  size: number
  checksums: Digests
}

/**
 * What a new record names whose own bytes are under `own`: before those, where there are any, bytes of
 * the same content that are some record's first, whole, and about to be removed by nobody. Never fails
 * for the storage's sake: to miss them costs a copy, and nothing else.
 */
export async function keysFor(rooms: Rooms, own: string, content: Content): Promise<string[]> {
  const { backend, catalog, onProblem } = rooms
  try {
    // Mostly the content is new, and only a look at the store can tell.
    const known = await firstShared(backend, catalog.known(), content)
    const shared = known ?? (await firstShared(backend, (await catalog.look()).records(), content))
    return shared === undefined || shared === own ? [own] : [shared, own]
  } catch (error) {
    if (!isImageError(error)) throw error
    onProblem(error)
    return [own]
  }
}

async function firstShared(
  backend: Backend,
  records: Iterable<VersionRecord>,
  { size, checksums }: Content,
): Promise<string | undefined> {
  const keys = new Set<string>()
  for (const record of records) {
    const isSame = record.checksums.sha512 === checksums.sha512 && record.size === size
    if (isSame && keys.size < candidatesMax) keys.add(record.keys[0] ?? '')
  }
  for (const key of keys) {
    const stat = await orUndefined(backend.stat(key))
    if (stat?.size === size && (await isSound(backend, key))) return key
  }
  return undefined
}

/** Deletes the spare of a published record if nobody needs it. Returns whether it did. */
export async function dropSpare(grounds: Grounds, record: VersionRecord): Promise<boolean> {
  const { backend, catalog, at } = grounds
  const [shared, spare] = record.keys
  const ingest = spare === undefined ? undefined : parseBytesKey(spare)
  if (shared === undefined || ingest === undefined) return false
  const { mark } = await markBytes(backend, ingest)
  await at?.('spare marked')
  const look = await catalog.look(ingest.name)
  const isNeeded = look.names(ingest, (other) => other.keys[0] !== shared)
  const isFree = !isNeeded && (await isSound(backend, shared))
  if (isFree) {
    await at?.('spare not needed')
    await deleteBytes(grounds, ingest)
    await at?.('spare deleted')
  }
  await backend.delete(mark)
  return isFree
}
