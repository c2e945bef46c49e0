// What one look at the catalog has shown: the records, and what stands where a record should and can not
// be read. A remover decides by it, and never deletes on a guess.

import type { Stat } from './backend.ts'
import {
  type Ingest,
  bytesKey,
  ingestId,
  layoutVersion,
  parseIngestId,
  parseRecordKey,
} from './layout.ts'
import type { VersionRecord } from './record.ts'

/** What is under the key of a record: one that this server can read, or something else. */
export type Known = { tag: string; record: VersionRecord } | Unreadable

interface Unreadable {
  tag: string
  record?: undefined
  mayName(ingest: Ingest): boolean
}

export class Look {
  /** By key. */
  readonly found: Map<string, Known> = new Map()

  records(): VersionRecord[] {
    return [...this.found.values()].flatMap(({ record }) => record ?? [])
  }

  /** The records of each name, by version. */
  byName(): Map<string, Map<string, VersionRecord>> {
    const names = new Map<string, Map<string, VersionRecord>>()
    for (const { record } of this.found.values()) {
      if (!record) continue
      let records = names.get(record.name)
      if (!records) names.set(record.name, (records = new Map()))
      records.set(record.version, record)
    }
    return names
  }

  /**
   * Whether a record names the bytes, at any position, or something that can not be read may; with
   * `which`, of the records that it is true for.
   */
  names(ingest: Ingest, which: (record: VersionRecord) => boolean = () => true): boolean {
    const key = bytesKey(ingest.name, ingest.uuid)
    for (const each of this.found.values()) {
      if (each.record ? each.record.keys.includes(key) && which(each.record) : each.mayName(ingest))
        return true
    }
    return false
  }
}

/**
 * What can not be read may name bytes of its own name, and those that its text speaks of, however it
 * is damaged. What a later version of the layout wrote may name any: the servers of one store are
 * upgraded together, so this one must not remove anything.
 */
export function unreadable({ key, tag }: Stat, text: string): Known {
  const own = parseRecordKey(key)?.name
  const isLater = layoutOf(text) > layoutVersion
  const spokenOf = new Set(text.split(/[^a-z0-9_.-]+/).filter((word) => parseIngestId(word)))
  return {
    tag,
    mayName: ({ name, uuid }) => isLater || name === own || spokenOf.has(ingestId(name, uuid)),
  }
}

/** The version of the layout that a text claims to have; 0 when it claims none. */
function layoutOf(text: string): number {
  try {
    const { layout } = (JSON.parse(text) ?? {}) as { layout?: unknown }
    return typeof layout === 'number' && Number.isInteger(layout) ? layout : 0
  } catch {
    return 0
  }
}
