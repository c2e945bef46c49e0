// Publishers and removers in every order that there is, any of which may stop for ever. With three
// removers it takes a minute: that is publish.exhaustive.ts, which CI runs.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Backend, bytesOf } from './backend.ts'
import { type Grounds, deleteBytes, isHeld } from './bytes.ts'
import { markKey, recordKey, recordPrefix } from './layout.ts'
import { readRecord } from './publish.ts'
import { dropSpare } from './spare.ts'
import { type Actor, explore } from './testing/explore.ts'
import {
  acknowledged,
  alsoSharing,
  assertNothingLost,
  assertPublishingSafe,
  bytes,
  groundsOf,
  owning,
  publisher,
  record,
  remover,
  sharing,
  stored,
  sweeper,
  outside,
} from './testing/publishing.ts'

const protocol = suite('publish and remove')

const owner = record()
const sharer = record(sharing)
/** A rollback to what the sharer has published names the same keys. */
const rollback = record(sharing, '2')

/** Rejects with what the explorer has found. */
async function finding(exploration: Promise<unknown>): Promise<string> {
  return await exploration.then(
    () => 'nothing',
    (error: unknown) => String(error),
  )
}

protocol(
  'two publishers of one ingest and two removers lose nothing and leave nothing',
  async () => {
    const again = record(owning, '2')
    const states = await assertPublishingSafe(
      stored([owning]),
      [publisher(owner), publisher(again)],
      [remover('a', [owner]), sweeper('b', owning)],
    )
    assert.ok(states > 10_000, `only ${states} states`)
  },
)

protocol('who owns the bytes and who shares them are safe from two removers', async () => {
  await assertPublishingSafe(
    stored([owning, sharing]),
    [publisher(owner), publisher(sharer)],
    [remover('a', [owner]), remover('b', [sharer])],
  )
})

protocol('two that share are safe from two removers', async () => {
  await assertPublishingSafe(
    stored([owning, sharing, alsoSharing], [owner]),
    [publisher(sharer), publisher(record(alsoSharing))],
    [remover('a', [owner]), remover('b', [sharer])],
  )
})

protocol('a spare goes only when a rollback that names it needs it no more', async () => {
  await assertPublishingSafe(
    stored([owning, sharing], [owner]),
    [publisher(sharer), publisher(rollback)],
    [remover('a', [owner]), remover('b', [sharer])],
  )
})

protocol('a spare stays when a successor has published it as its own', async () => {
  const successor = { ...record(sharing, '2'), keys: sharer.keys.slice(1) }
  await assertPublishingSafe(
    stored([owning, sharing], [owner]),
    [publisher(sharer), publisher(successor)],
    [remover('a', [owner]), remover('b', [sharer])],
  )
})

protocol('whoever ends the work of a dead publisher may drop its spare', async () => {
  const successor: Actor = {
    name: 'successor-',
    async run(backend) {
      const found = await readRecord(backend, recordKey(sharer.name, sharer.version))
      if (found) await dropSpare(groundsOf(backend), found)
    },
  }
  await assertPublishingSafe(
    stored([owning, sharing], [owner]),
    [publisher(sharer)],
    [remover('a', [owner]), remover('b', [sharer]), successor],
  )
})

protocol('the explorer finds what a spare that is dropped without a mark would lose', async () => {
  const drop = async (grounds: Grounds): Promise<void> => {
    if (await isHeld(grounds.backend, bytes)) await deleteBytes(grounds, sharing)
  }
  const found = await finding(
    assertPublishingSafe(
      stored([owning, sharing], [owner]),
      [publisher(sharer, drop), publisher(rollback)],
      [remover('a', [owner]), remover('b', [sharer])],
    ),
  )
  assert.match(found, 'cd 2 was acknowledged and has no bytes')
})

protocol('the explorer finds what a remover that looks at one name alone would lose', async () => {
  const old: Actor = {
    name: 'old-',
    async run(backend: Backend) {
      const mark = markKey(owning.name, owning.uuid, 'old')
      await backend.put(mark, bytesOf('{}'), { ifAbsent: true })
      for await (const _ of backend.list(recordPrefix(owning.name))) return
      await backend.delete(bytes)
    },
  }
  const found = await finding(
    assertPublishingSafe(stored([owning, sharing]), [publisher(sharer)], [old]),
  )
  assert.match(found, 'cd 1 was acknowledged and has no bytes')
})

protocol('a rollback and the removal of its version leave the bytes or no record', async () => {
  const old = record(owning, '9')
  const next = record(owning, '10')
  const removers = [remover('a', [old]), remover('b', [old]), sweeper('c', owning)]
  await explore(
    stored([owning], [old]),
    [publisher(next), ...removers],
    (state) => {
      assertNothingLost([next], state)
      const isPublished = state.objects.has(recordKey(old.name, '9'))
      const mayGo = state.objects.has(recordKey(old.name, '10'))
      if (isPublished && !mayGo) assert.ok(state.objects.has(bytes), 'bytes of a record went')
    },
    outside,
  )
})

protocol('of two publishers of one version at most one is acknowledged', async () => {
  const both = ['x', 'y'].map((id) => record(owning, '1', id))
  await explore(
    stored([owning]),
    [...both.map((each) => publisher(each)), sweeper('a', owning), sweeper('b', owning)],
    (state) => {
      assert.ok(state.told.filter((each) => each === acknowledged).length <= 1)
      assertNothingLost(both, state)
    },
    outside,
  )
})

protocol('the explorer finds what one mark for all removers would lose', async () => {
  const removers: Actor[] = ['a', 'b'].map((label) => ({
    name: `remover-${label}-`,
    async run(backend: Backend) {
      // As removeBytes, but with one mark that either takes away.
      const mark = `${bytes}.mark`
      await backend.put(mark, bytesOf(''), {})
      let isNamed = false
      for await (const stat of backend.list(recordPrefix(owning.name))) isNamed ||= stat.size > 0
      if (isNamed) return await backend.delete(mark)
      await backend.delete(bytes)
    },
  }))
  const careless: Actor = {
    name: 'publisher-',
    async run(backend: Backend) {
      await backend.put(recordKey(owning.name, '1'), bytesOf(''), { ifAbsent: true })
      for await (const mark of backend.list(`${bytes.slice(0, -'/backing'.length)}/`)) {
        if (mark.key.endsWith('.mark')) throw new Error('marked')
      }
      await backend.stat(bytes)
    },
  }
  let lost = 0
  await explore(stored([owning]), [careless, ...removers], (state) => {
    if (state.outcomes[0] === 'done' && !state.objects.has(bytes)) lost += 1
  })
  assert.ok(lost > 0, 'the explorer sees nothing')
})

protocol.run()
