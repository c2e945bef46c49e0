// What of an image may be in this store already: blocks of older versions of its name, and of other
// images.

import { readBlocks } from '../block-file.ts'
import { asError, orUndefined } from '../errors.ts'
import type { VersionRecord } from '../record.ts'
import type { Rooms } from '../rooms.ts'
import type { Order } from '../pull/source.ts'
import type { Plan } from './plan.ts'

const versionsMax = 8
const othersMax = 32
const listAgeMaxMs = 5000

/** Finds in the images of this store what the plan wants. What can not be read is passed over. */
export async function findHere(
  plan: Plan,
  { rooms, name, signal }: Pick<Order, 'rooms' | 'name' | 'signal'>,
): Promise<void> {
  if (!plan.isWanting) return
  const seen = new Set<string>()
  for (const { keys, size } of await candidates(rooms, name)) {
    for (const key of keys) {
      if (!plan.isWanting) return
      if (seen.has(key)) continue
      seen.add(key)
      try {
        const index = await orUndefined(readBlocks(rooms.backend, key, size, { signal }))
        if (index) plan.hold(key, index)
      } catch (error) {
        signal.throwIfAborted()
        rooms.onProblem(asError(error))
      }
    }
  }
}

/** The newest versions of the name, then the newest of other names. */
async function candidates({ catalog }: Rooms, name: string): Promise<VersionRecord[]> {
  // What other servers took in, too.
  if (catalog.ageMs() > listAgeMaxMs) await catalog.refresh()
  const versions = await catalog.fresh(name)
  const others = catalog
    .names()
    .filter((other) => other !== name)
    .flatMap((other) => catalog.newest(other) ?? [])
    .toSorted((a, b) => (a.publishedAt < b.publishedAt ? 1 : -1))
  return [...versions.slice(0, versionsMax), ...others.slice(0, othersMax)]
}
