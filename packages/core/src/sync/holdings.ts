// What of an image may be in this store already: blocks of older versions of its name, and of other
// images.

import { readAll } from '../backend.ts'
import type { Backend } from '../backend.ts'
import { asError, orUndefined } from '../errors.ts'
import { blocksKey, parseBytesKey } from '../layout.ts'
import type { VersionRecord } from '../record.ts'
import type { Rooms } from '../rooms.ts'
import { type Plan, blocksOf, entryBytes } from './plan.ts'

const versionsMax = 8
const othersMax = 32

/** Finds in the images of this store what the plan wants. What can not be read is passed over. */
export async function findHere(plan: Plan, rooms: Rooms, name: string): Promise<void> {
  const seen = new Set<string>()
  for (const record of await candidates(rooms, name)) {
    const [key] = record.keys
    if (!plan.isWanting) return
    if (key === undefined || seen.has(key)) continue
    seen.add(key)
    try {
      const index = await indexOf(rooms.backend, key, record.size)
      if (index) plan.hold(key, index)
    } catch (error) {
      rooms.onProblem(asError(error))
    }
  }
}

/** The newest versions of the name, then the newest of other names. */
async function candidates({ catalog }: Rooms, name: string): Promise<VersionRecord[]> {
  const versions = await catalog.fresh(name)
  const others = catalog
    .names()
    .filter((other) => other !== name)
    .flatMap((other) => catalog.newest(other) ?? [])
    .toSorted((a, b) => (a.publishedAt < b.publishedAt ? 1 : -1))
  return [...versions.slice(0, versionsMax), ...others.slice(0, othersMax)]
}

/** Undefined for bytes without an index, or with that of others. */
async function indexOf(
  backend: Backend,
  key: string,
  size: number,
): Promise<Uint8Array | undefined> {
  const ingest = parseBytesKey(key)
  if (!ingest) return undefined
  const bytes = await orUndefined(backend.get(blocksKey(ingest.name, ingest.uuid)))
  if (!bytes) return undefined
  const length = blocksOf(size) * entryBytes
  const index = await readAll(bytes, length)
  return index.length === length ? index : undefined
}
