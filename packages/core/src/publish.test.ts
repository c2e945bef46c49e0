// Publishers and removers in every order that there is, any of which may stop for ever. With three
// removers it takes a minute: that is publish.exhaustive.ts, which CI runs.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Backend } from './backend.ts'
import { recordKey } from './layout.ts'
import { publish } from './publish.ts'
import { type Actor, explore } from './testing/explore.ts'
import {
  assertNothingLost,
  assertPublishingSafe,
  bytes,
  name,
  published,
  publisher,
  record,
  remover,
  stored,
  unread,
} from './testing/publishing.ts'

const protocol = suite('publish and remove')

protocol('two publishers and two removers in every order lose nothing acknowledged', async () => {
  await assertPublishingSafe(['b'])
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
