// Publishers and removers of the same content, as actors for the explorer. Version 1 of one name owns the
// bytes; what other names publish shares them, and has a spare of its own.

import { strict as assert } from 'node:assert'
import type { Backend } from '../backend.ts'
import { type Grounds, removeBytes } from '../bytes.ts'
import { Catalog } from '../catalog.ts'
import { type Ingest, bytesKey, layoutVersion, parseCorruptKey, recordKey } from '../layout.ts'
import { type Step, publish } from '../publish.ts'
import { type VersionRecord, formatRecord } from '../record.ts'
import { removeRecords } from '../remove.ts'
import { dropSpare } from '../spare.ts'
import { type Actor, type ExploreOptions, type Explored, explore } from './explore.ts'
import { absent } from './script.ts'

/** The ingest that brought the bytes that are shared, and two of the same content. */
export const owning: Ingest = { name: 'ab', uuid: '0000abcd' }
export const sharing: Ingest = { name: 'cd', uuid: '1111abcd' }
export const alsoSharing: Ingest = { name: 'ef', uuid: '2222abcd' }

export const bytes: string = keyOf(owning)

function keyOf({ name, uuid }: Ingest): string {
  return bytesKey(name, uuid)
}

/** The record of an ingest, whose bytes come first unless it shares those of the owning one. */
export function record(
  { name, uuid }: Ingest = owning,
  version: string = '1',
  id: string = `id-${version}`,
): VersionRecord {
  const own = bytesKey(name, uuid)
  return {
    layout: layoutVersion,
    id,
    name,
    version,
    uuid,
    sequence: 1,
    keys: own === bytes ? [own] : [bytes, own],
    sourceType: 'upload',
    parameters: {},
    labels: {},
    dataEngine: 'v1',
    minNumberOfCopies: 0,
    nodeSelector: [],
    diskSelector: [],
    expected: [],
    size: 1,
    virtualSize: 512,
    realSize: 1,
    format: 'raw',
    checksums: { sha512: '', sha256: '' },
    warnings: [],
    createdAt: '',
    publishedAt: '',
  }
}

/** What one process knows at first: nothing. */
export function groundsOf(backend: Backend): Grounds {
  const onProblem = (error: Error): never => {
    throw error
  }
  return { backend, catalog: new Catalog(backend, onProblem) }
}

export const acknowledged = 'acknowledged'

export interface Publisher extends Actor {
  record: VersionRecord
}

/** Acknowledges, and then drops the spare, if there is one. */
export function publisher(
  published: VersionRecord,
  drop: (grounds: Grounds, record: VersionRecord) => Promise<unknown> = dropSpare,
): Publisher {
  return {
    name: `publisher-${published.name}-${published.version}-${published.id}-`,
    record: published,
    async run(backend, tell) {
      const grounds = groundsOf(backend)
      const at = (step: Step): void => {
        if (step === 'published') tell(acknowledged)
      }
      await publish({ ...grounds, at }, published)
      await drop(grounds, published)
    },
  }
}

/** Was asked to remove versions, which may not even be there yet. */
export function remover(label: string, records: readonly VersionRecord[]): Actor {
  return {
    name: `remover-${label}-`,
    run: (backend) => removeRecords(groundsOf(backend), records),
  }
}

/** Removes bytes that no record names, as who takes work over or sweeps. */
export function sweeper(label: string, ...ingests: Ingest[]): Actor {
  return {
    name: `sweeper-${label}-`,
    run: (backend) => removeBytes(groundsOf(backend), ingests),
  }
}

/** The bytes of ingests, and records that are published. */
export function stored(
  ingests: readonly Ingest[],
  records: readonly VersionRecord[] = [],
): Map<string, string> {
  return new Map([
    ...ingests.map((ingest): [string, string] => [keyOf(ingest), 'x']),
    ...records.map((each): [string, string] => [
      recordKey(each.name, each.version),
      formatRecord(each),
    ]),
  ])
}

/** What stands beside the bytes is left out, and so are marks of corrupt ones: nobody puts any here. */
export const outside: ExploreOptions = {
  only({ verb, key }) {
    if (verb === 'delete' && /\/(backing\.cfg|blocks)$/.test(key)) return verb
    return verb === 'get' && parseCorruptKey(key) ? absent : undefined
  },
}

/** At every moment: what was acknowledged and is still there has bytes. */
export function assertNothingLost(records: readonly VersionRecord[], state: Explored): void {
  records.forEach((each, index) => {
    if (state.told[index] !== acknowledged) return
    if (state.objects.get(recordKey(each.name, each.version)) !== formatRecord(each)) return
    const isReadable = each.keys.some((key) => state.objects.has(key))
    assert.ok(isReadable, `${each.name} ${each.version} was acknowledged and has no bytes`)
  })
}

/** Once all are done: each record has bytes, and all bytes have a record. */
export function assertNothingLeft(state: Explored): void {
  const named = new Set<string>()
  for (const [key, content] of state.objects) {
    if (!key.startsWith('.catalog/')) continue
    const { keys } = JSON.parse(content) as VersionRecord
    assert.ok(
      keys.some((each) => state.objects.has(each)),
      `${key} is left without bytes`,
    )
    for (const each of keys) named.add(each)
  }
  for (const key of state.objects.keys()) {
    if (key.endsWith('/backing')) assert.ok(named.has(key), `${key} is left, and named by none`)
  }
}

/** Publishers and others in every order: nothing is ever lost, and in the end nothing is left. */
export async function assertPublishingSafe(
  objects: ReadonlyMap<string, string>,
  publishers: readonly Publisher[],
  others: readonly Actor[],
): Promise<number> {
  const records = publishers.map((each) => each.record)
  const seen = { acknowledged: 0, withdrawn: 0, finished: 0 }
  const states = await explore(
    objects,
    [...publishers, ...others],
    (state) => {
      assertNothingLost(records, state)
      if (state.told.includes(acknowledged)) seen.acknowledged += 1
      if (state.outcomes.includes('aborted')) seen.withdrawn += 1
      if (state.outcomes.includes(undefined)) return
      seen.finished += 1
      assertNothingLeft(state)
    },
    outside,
  )
  assert.ok(
    Object.values(seen).every((count) => count > 0),
    JSON.stringify(seen),
  )
  return states
}
