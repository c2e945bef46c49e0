// Publishers and removers of one image's bytes, as actors for the explorer.

import type { Backend } from '../backend.ts'
import { ImageError } from '../errors.ts'
import { blocksKey, bytesKey, configKey, layoutVersion, recordKey } from '../layout.ts'
import { markBytes, publish, removeMarked } from '../publish.ts'
import { type VersionRecord, formatRecord } from '../record.ts'
import { strict as assert } from 'node:assert'
import { type Actor, type Explored, explore } from './explore.ts'

export const name: string = 'ab'
export const uuid: string = '0000abcd'
export const bytes: string = bytesKey(name, uuid)

export function record(version: string, id: string = `id-${version}`): VersionRecord {
  return {
    layout: layoutVersion,
    id,
    name,
    version,
    uuid,
    sequence: Number(version),
    keys: [bytes],
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

export const publisher: (version: string) => Actor = (version: string): Actor => ({
  name: `publisher-${version}`,
  run: (backend) => publish(backend, record(version)),
})

/** Once it has withdrawn its record it stops: what comes then is what every remover does. */
const stoppingPublisher = (version: string): Actor => ({
  name: `publisher-${version}`,
  run: (backend) =>
    publish(backend, record(version), {
      at: (step) => {
        if (step === 'mark put') throw new ImageError('aborted', 'stopped')
      },
    }),
})

/** Was asked to remove a version; or none, as a sweeper. */
export const remover: (label: string, version?: string) => Actor = (
  label: string,
  version?: string,
): Actor => ({
  name: `remover-${label}`,
  async run(backend: Backend) {
    const mark = await markBytes(backend, name, uuid)
    if (version !== undefined) await backend.delete(recordKey(name, version))
    await removeMarked(backend, name, uuid, mark)
  },
})

// Longhorn's record and the index beside the bytes are left out: no publisher or remover reads them.
export const stored: ReadonlyMap<string, string> = new Map([[bytes, 'x']])
export const unread: { unread: string[] } = {
  unread: [configKey(name, uuid), blocksKey(name, uuid)],
}
export const published: ReadonlyMap<string, string> = new Map([
  ...stored,
  [recordKey(name, '9'), formatRecord(record('9'))],
])

/** At every moment: what was acknowledged and is still there has its bytes. */
export function assertNothingLost(versions: readonly string[], state: Explored): void {
  versions.forEach((version, index) => {
    const isThere = state.objects.has(recordKey(name, version))
    if (state.outcomes[index] === 'done' && isThere) {
      assert.ok(state.objects.has(bytes), `${version} was acknowledged and has no bytes`)
    }
  })
}

/** Two publishers and as many removers, in every order: nothing acknowledged is ever lost. */
export async function assertPublishingSafe(sweepers: string[]): Promise<void> {
  let acknowledged = 0
  let withdrawn = 0
  let finished = 0
  const publishers = [stoppingPublisher('1'), stoppingPublisher('2')]
  const actors = [...publishers, remover('a', '1'), ...sweepers.map((label) => remover(label))]
  const states = await explore(
    stored,
    actors,
    (state) => {
      assertNothingLost(['1', '2'], state)
      const [first, second] = state.outcomes
      if (first === 'done' || second === 'done') acknowledged += 1
      if (first === 'aborted' || second === 'aborted') withdrawn += 1
      if (state.outcomes.some((outcome) => outcome === undefined)) return
      finished += 1
      // Nobody asked for the second one to go.
      if (second === 'done') assert.ok(state.objects.has(recordKey(name, '2')))
      if (second === 'aborted') assert.ok(!state.objects.has(recordKey(name, '2')))
      for (const version of ['1', '2']) {
        const isThere = state.objects.has(recordKey(name, version))
        if (isThere) assert.ok(state.objects.has(bytes), 'a record without bytes is left')
      }
    },
    { ...unread, alike: sweepers.length },
  )
  assert.ok(states > 1000, `only ${states} states`)
  assert.ok(acknowledged > 0 && withdrawn > 0 && finished > 0)
}
