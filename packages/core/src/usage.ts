// What of the storage is used by what: counted from the records in memory, without reading any bytes.

import { hasSpace } from './backend.ts'
import type { Catalog } from './catalog.ts'
import type { Job } from './claim.ts'
import type { VersionRecord } from './record.ts'
import type { Rooms } from './rooms.ts'

/** All sizes are bytes. */
export interface Counts {
  versions: number
  /** The sizes of all versions, as if each had bytes of its own. */
  logical: number
  /** What their bytes take on the medium; bytes that several versions share are counted once. */
  allocated: number
  /** The part of `logical` that is not stored again, because versions share bytes. */
  shared: number
}

/** Of one name. Bytes that several names share count for the first of them. */
export interface NameUsage extends Counts {
  name: string
}

export interface Usage extends Counts {
  names: readonly NameUsage[]
  /** Work that has not ended: what has arrived, and what is still to come where that was told. */
  inFlight: { jobs: number; received: number; announced: number }
  /** Of the medium, where that tells. */
  space: { freeBytes: number; totalBytes: number } | undefined
}

const nothing: Counts = { versions: 0, logical: 0, allocated: 0, shared: 0 }

interface Counted {
  revision: number
  all: Counts & { names: NameUsage[] }
}

/** There may be very many records: they are counted when they have changed. */
const counted = new WeakMap<Catalog, Counted>()

/** As the catalog in memory has it, with these jobs. */
export async function usageOf(
  { backend, catalog }: Pick<Rooms, 'backend' | 'catalog'>,
  jobs: readonly Job[],
): Promise<Usage> {
  const { revision } = catalog
  let known = counted.get(catalog)
  if (known?.revision !== revision) {
    known = { revision, all: countRecords(catalog.records()) }
    counted.set(catalog, known)
  }
  const space = hasSpace(backend) ? await backend.space() : undefined
  return { ...known.all, inFlight: countJobs(jobs), space }
}

/** By name, in name order, and in all. */
export function countRecords(records: Iterable<VersionRecord>): Counts & { names: NameUsage[] } {
  const byName = new Map<string, VersionRecord[]>()
  for (const record of records) {
    const others = byName.get(record.name)
    if (others) others.push(record)
    else byName.set(record.name, [record])
  }
  const names: NameUsage[] = []
  const all = { ...nothing }
  const seen = new Set<string>()
  for (const name of [...byName.keys()].toSorted()) {
    const counts = { name, ...nothing }
    for (const { keys, size, realSize } of byName.get(name) ?? []) {
      const [bytes = ''] = keys
      const isShared = seen.has(bytes)
      seen.add(bytes)
      counts.versions += 1
      counts.logical += size
      if (isShared) counts.shared += size
      else counts.allocated += realSize
    }
    names.push(counts)
    for (const kind of ['versions', 'logical', 'allocated', 'shared'] as const) {
      all[kind] += counts[kind]
    }
  }
  return { ...all, names }
}

function countJobs(jobs: readonly Job[]): Usage['inFlight'] {
  const working = jobs.filter((job) => !job.end && !job.cancelled)
  return {
    jobs: working.length,
    received: working.reduce((sum, { beat }) => sum + beat.processedSize, 0),
    announced: working.reduce((sum, job) => sum + toCome(job), 0),
  }
}

/** How many bytes of work that has not ended are still to arrive, as far as that was told. */
export function toCome({ claim, beat }: Job): number {
  return Math.max(0, (beat.size ?? claim.size ?? 0) - beat.processedSize)
}
