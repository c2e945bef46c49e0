// What healing left behind: the work of a healer that died, and marks of corrupt bytes that are gone.

import type { Stat } from './backend.ts'
import { isThere, markBytes, removeBytes, removeMarked } from './bytes.ts'
import type { Job } from './claim.ts'
import { readCorruption } from './corrupt.ts'
import { type Ingest, bytesKey, parseBytesKey, parseCorruptKey } from './layout.ts'
import type { Rooms } from './rooms.ts'

/**
 * What healing has stored stays only if it is in use: marked first, so that whoever stored it, if it
 * lives after all, finds the mark when it has put it to use (scrub/heal.ts).
 */
export async function settleHeal(rooms: Rooms, { name, uuid }: Job, heals: string): Promise<void> {
  const { backend, jobs } = rooms
  const marked = await markBytes(backend, { name, uuid })
  const corrupt = parseBytesKey(heals)
  const corruption = corrupt && (await readCorruption(backend, corrupt))
  const isInUse = corruption?.healedBy === bytesKey(name, uuid)
  if (isInUse) await backend.delete(marked.mark)
  else await removeMarked(rooms, [marked])
  await jobs.remove(name, uuid)
}

/** Marks of corrupt bytes that are gone go, with what served in their place, unless a record names them. */
export async function sweepCorrupt(rooms: Rooms, marks: readonly Stat[]): Promise<void> {
  const gone: Ingest[] = []
  for (const { key } of marks) {
    const ingest = parseCorruptKey(key)
    if (ingest && !(await isThere(rooms.backend, bytesKey(ingest.name, ingest.uuid)))) {
      gone.push(ingest)
    }
  }
  if (gone.length === 0) return
  // A remover's mark on what is gone would say that its record was never acknowledged.
  const look = await rooms.catalog.look()
  await removeBytes(
    rooms,
    gone.filter((ingest) => !look.names(ingest)),
  )
}
