// Publishers and removers in every order that there is, any of which may stop for ever.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Backend } from './backend.ts'
import { ImageError } from './errors.ts'
import { bytesKey, configKey, layoutVersion, recordKey } from './layout.ts'
import { markBytes, publish, removeMarked } from './publish.ts'
import { type VersionRecord, formatRecord } from './record.ts'
import { type Actor, type Explored, explore } from './testing/explore.ts'

const name = 'ab'
const uuid = '0000abcd'
const bytes = bytesKey(name, uuid)

function record(version: string, id: string = `id-${version}`): VersionRecord {
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

const publisher = (version: string): Actor => ({
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
const remover = (label: string, version?: string): Actor => ({
  name: `remover-${label}`,
  async run(backend: Backend) {
    const mark = await markBytes(backend, name, uuid)
    if (version !== undefined) await backend.delete(recordKey(name, version))
    await removeMarked(backend, name, uuid, mark)
  },
})

// Longhorn's record beside the bytes is left out: nobody reads it.
const stored = new Map([[bytes, 'x']])
const unread = { unread: [configKey(name, uuid)] }
const published = new Map([...stored, [recordKey(name, '9'), formatRecord(record('9'))]])

/** At every moment: what was acknowledged and is still there has its bytes. */
function assertNothingLost(versions: readonly string[], state: Explored): void {
  versions.forEach((version, index) => {
    const isThere = state.objects.has(recordKey(name, version))
    if (state.outcomes[index] === 'done' && isThere) {
      assert.ok(state.objects.has(bytes), `${version} was acknowledged and has no bytes`)
    }
  })
}

const protocol = suite('publish and remove')

protocol('two publishers and three removers in every order lose nothing acknowledged', async () => {
  let acknowledged = 0
  let withdrawn = 0
  let finished = 0
  const publishers = [stoppingPublisher('1'), stoppingPublisher('2')]
  const actors = [...publishers, remover('a', '1'), remover('b'), remover('c')]
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
      if (second === 'aborted') assert.not.ok(state.objects.has(recordKey(name, '2')))
      for (const version of ['1', '2']) {
        const isThere = state.objects.has(recordKey(name, version))
        if (isThere) assert.ok(state.objects.has(bytes), 'a record without bytes is left')
      }
    },
    { ...unread, alike: 2 },
  )
  assert.ok(states > 1000, `only ${states} states`)
  assert.ok(acknowledged > 0 && withdrawn > 0 && finished > 0)
})

protocol('when all are done, bytes that no record names are gone', async () => {
  const actors = [publisher('1'), publisher('2'), remover('a', '1'), remover('b')]
  let gone = 0
  await explore(
    stored,
    actors,
    (state) => {
      assertNothingLost(['1', '2'], state)
      if (state.outcomes.some((outcome) => outcome === undefined)) return
      const isNamed = ['1', '2'].some((version) => state.objects.has(recordKey(name, version)))
      assert.is(state.objects.has(bytes), isNamed, state.outcomes.join())
      if (!isNamed) gone += 1
    },
    unread,
  )
  assert.ok(gone > 0)
})

protocol('a rollback and the removal of its version leave the bytes or no record', async () => {
  const actors = [publisher('10'), remover('a', '9'), remover('b', '9'), remover('c')]
  await explore(
    published,
    actors,
    (state) => {
      assertNothingLost(['10'], state)
      const isPublished = state.objects.has(recordKey(name, '9'))
      const mayGo = state.objects.has(recordKey(name, '10'))
      if (isPublished && !mayGo) assert.ok(state.objects.has(bytes), 'bytes of a record went')
    },
    unread,
  )
})

protocol('of two publishers of one version at most one is acknowledged', async () => {
  const actors: Actor[] = ['x', 'y'].map((id) => ({
    name: id,
    run: (backend) => publish(backend, record('1', id)),
  }))
  await explore(
    stored,
    [...actors, remover('a'), remover('b')],
    (state) => {
      assert.ok(state.outcomes.slice(0, 2).filter((each) => each === 'done').length <= 1)
      assertNothingLost(['1', '1'], state)
    },
    unread,
  )
})

protocol('the explorer finds what one mark for all removers would lose', async () => {
  const shared: Actor[] = ['a', 'b'].map((label) => ({
    name: `remover-${label}`,
    async run(backend: Backend) {
      // As removeBytes, but with one mark that either takes away.
      const mark = `${bytes}.mark`
      await backend.put(mark, (async function* () {})(), {})
      let isNamed = false
      for await (const stat of backend.list(`.catalog/${name}/`)) isNamed ||= stat.size > 0
      if (isNamed) return await backend.delete(mark)
      await backend.delete(bytes)
    },
  }))
  const careless: Actor = {
    name: 'publisher',
    async run(backend: Backend) {
      await backend.put(recordKey(name, '1'), (async function* () {})(), { ifAbsent: true })
      for await (const mark of backend.list(`${bytes.slice(0, -'/backing'.length)}/`)) {
        if (mark.key.endsWith('.mark')) throw new Error('marked')
      }
      await backend.stat(bytes)
    },
  }
  let lost = 0
  await explore(stored, [careless, ...shared], (state) => {
    if (state.outcomes[0] === 'done' && !state.objects.has(bytes)) lost += 1
  })
  assert.ok(lost > 0, 'the explorer sees nothing')
})

protocol.run()
