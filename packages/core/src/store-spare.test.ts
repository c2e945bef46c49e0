// A spare, the copy that came with the same content, goes when nobody needs it, and not before: whoever
// shares bytes that are taken away still has it.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { Hasher } from './hasher.ts'
import { blocksKey, bytesKey, configKey, parseMarkKey, recordKey } from './layout.ts'
import type { Step } from './publish.ts'
import { sweepSpares } from './sweep.ts'
import { MemoryBackend } from './testing/memory.ts'
import {
  type Town,
  bytesOf,
  copies,
  disk,
  engine,
  inTown,
  keysOf,
  latch,
  put,
  recordOf,
  skip,
} from './testing/rig.ts'

const sharing = suite('store: spare')

/**
 * `noble` is published while the remover of `jammy` is about to take the shared bytes away: it can not
 * rely on them, and keeps its own. `finish` lets the remover go on.
 */
async function publishedBesideRemover(town: Town): Promise<{ finish: () => Promise<void> }> {
  const listed = latch()
  const goOn = latch()
  const remover = await town.open({
    at: async (step) => {
      if (step !== 'catalog listed') return
      listed.open()
      await goOn.opened
    },
  })
  const created = latch()
  const mayCreate = latch()
  const publisher = await town.open()
  publisher.backend.before = async (verb, key) => {
    if (verb !== 'put' || key !== recordKey('noble', '1')) return
    created.open()
    await mayCreate.opened
  }
  await put(publisher.store, 'jammy', 1)
  // It has found the bytes of `jammy` before anybody wanted to remove them.
  const publishing = put(publisher.store, 'noble', 1)
  await created.opened
  const removing = remover.store.remove('jammy')
  await listed.opened
  mayCreate.open()
  await publishing
  return {
    async finish() {
      goOn.open()
      await removing
    },
  }
}

sharing(
  'who shares bytes that are being removed keeps its own, also for who has opened it before',
  inTown(async (town) => {
    const { finish } = await publishedBesideRemover(town)
    const [shared, spare] = recordOf(town, 'noble').keys
    assert.equal(copies(town), [shared, spare])
    const { store } = await town.open()
    const opened = await store.open('noble')
    await finish()
    assert.equal(copies(town), [spare])
    assert.ok((await readAll(await opened.read())).equals(disk(1)), 'opened before')
    assert.ok((await bytesOf(store, 'noble')).equals(disk(1)))
    const back = await store.rollback('noble', '1')
    await store.remove('noble', { version: '1' })
    assert.ok((await bytesOf(store, 'noble', back.version)).equals(disk(1)))
    // Only first keys are shared: nobody else relies on a spare.
    const lunar = await put(store, 'lunar', 1)
    assert.equal(recordOf(town, 'lunar').keys, [bytesKey('lunar', lunar.uuid)])
  }),
)

sharing(
  'a spare that was left is found and dropped, but not while the shared bytes may go',
  inTown(async (town) => {
    const hasher = new Hasher()
    const { finish } = await publishedBesideRemover(town)
    const { rooms } = engine(new MemoryBackend({ shared: town.medium }), hasher)
    const [shared = '', spare] = recordOf(town, 'noble').keys
    const before = town.keys()
    assert.equal(await sweepSpares(rooms), [], 'the remover may still go on')
    assert.equal(town.keys(), before)
    // As if the remover had found a record and left the bytes.
    const marks = town.keys('.marks/')
    for (const mark of marks) town.medium.remove(mark)
    assert.equal(await sweepSpares(rooms, { isDryRun: true }), [spare])
    assert.equal(copies(town), [shared, spare])
    assert.equal(await sweepSpares(rooms), [spare])
    assert.equal(copies(town), [shared])
    assert.equal(await sweepSpares(rooms), [])
    await hasher.close()
    await finish()
  }),
)

for (const step of [
  'published',
  'spare marked',
  'spare not needed',
  'config deleted',
  'bytes deleted',
  'spare deleted',
] as Step[]) {
  sharing(
    `the spare of a publisher that dies at "${step}" goes when its work is ended`,
    inTown(async (town) => {
      const first = await put((await town.open()).store, 'jammy', 1)
      const victim = await town.open({
        at: (each) => {
          if (each !== step) return
          town.medium.kill(victim.backend.owner)
          throw new Error('killed')
        },
      })
      await put(victim.store, 'noble', 1).catch(() => {})
      const { store } = await town.open()
      assert.ok((await bytesOf(store, 'noble')).equals(disk(1)))
      assert.equal(town.unmarked(), [...keysOf(first), recordKey('noble', '1')].toSorted())
      const marked = town.keys('.marks/').map((key) => parseMarkKey(key)?.name)
      assert.ok(!marked.includes('jammy'))
    }),
  )
}

sharing(
  'where the storage fails as a spare is dropped the image is there, and the spare goes later',
  inTown(async (town) => {
    const { store, backend, problems } = await town.open()
    await put(store, 'jammy', 1)
    let isBroken = true
    backend.before = (verb, key) => {
      if (isBroken && verb === 'delete' && key.endsWith('/backing')) throw new Error('broken')
    }
    const image = await put(store, 'noble', 1)
    assert.is(image.state, 'ready')
    assert.is(copies(town).length, 2)
    assert.is(problems.length, 1)
    isBroken = false
    for (let look = 0; look < 5; look++) {
      skip(10_001)
      await store.tend()
    }
    assert.is(copies(town).length, 1)
    assert.equal(town.keys('.jobs/'), [])
    assert.ok((await bytesOf(store, 'noble')).equals(disk(1)))
  }),
)

sharing(
  'what stands beside the bytes goes with the spare, and stays beside what is used',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const first = await put(store, 'jammy', 1)
    backend.before = (verb, key) => {
      if (verb !== 'put' || key !== recordKey('noble', '1')) return
      const [, uuid = ''] = /noble-([0-9a-f]{8})/.exec(copies(town)[1] ?? '') ?? []
      assert.ok(town.keys().includes(configKey('noble', uuid)))
      assert.ok(town.keys().includes(blocksKey('noble', uuid)))
    }
    await put(store, 'noble', 1)
    assert.equal(town.keys(), [...keysOf(first), recordKey('noble', '1')].toSorted())
    assert.is((await store.blocks('noble')).count, 1)
    await store.remove('jammy')
    await store.remove('noble')
    assert.equal(town.unmarked(), [])
  }),
)

sharing.run()
