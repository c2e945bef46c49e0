// Bytes that are corrupt, or that somebody took away behind our back: their version has failed, says what
// to do, is not replaced by other bytes, and is served again once the same bytes were uploaded.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { writeCorruption } from './corrupt.ts'
import { bytesKey, markKey, recordKey } from './layout.ts'
import {
  type Town,
  bytesOf,
  copies,
  disk,
  failure,
  inTown,
  latch,
  put,
  recordOf,
  request,
  skip,
  streamOf,
} from './testing/rig.ts'
import { rot, scrubbed } from './testing/scrubbing.ts'

const restoring = suite('store: bytes that are gone or corrupt')

type Image = Awaited<ReturnType<typeof put>>

async function lose(town: Town, image: Image): Promise<void> {
  town.medium.remove(bytesKey(image.name, image.uuid))
}

async function spoil(town: Town, image: Image): Promise<void> {
  rot(town, bytesKey(image.name, image.uuid))
  const { backend } = await town.open()
  await writeCorruption(backend, image, { expected: 'sha512:aaaa', actual: 'sha512:bbbb' })
}

const harms = [
  ['gone', lose],
  ['corrupt', spoil],
] as const

restoring(
  'a version whose bytes somebody took away has failed, wherever it is looked at',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const alike = await put(store, 'noble', 1)
    assert.is((await store.list())[0]?.state, 'ready')
    await lose(town, image)
    for (const name of ['jammy', 'noble']) {
      const found = await store.get(name)
      assert.is(found.state, 'failed')
      assert.match(found.message, 'bytes are gone')
      assert.match(found.message, bytesKey('jammy', image.uuid))
      assert.match(found.message, 'upload the same bytes')
      assert.equal(await store.versions(name), [found])
      for (const work of [
        store.open(name),
        store.blocks(name, { version: '1' }),
        store.openFile(name, name === 'jammy' ? image.uuid : alike.uuid),
        store.rollback(name, '1'),
      ]) {
        const error = await failure(work)
        assert.equal([error.code, error.state], ['not_found', 'failed'])
        assert.match(error.message, 'bytes are gone')
      }
    }
    assert.equal(
      (await store.list()).map(({ state }) => state),
      ['failed', 'failed'],
    )
  }),
)

restoring(
  'the list knows of lost bytes after a scrub, and that they are back after a look',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const key = bytesKey('jammy', image.uuid)
    const body = town.medium.objects.get(key)?.body ?? new Uint8Array(0)
    await lose(town, image)
    await scrubbed(store)
    assert.is((await store.list())[0]?.state, 'failed')
    town.medium.write(key, body)
    assert.equal(await store.get('jammy'), image)
    assert.equal(await store.list(), [image])
  }),
)

restoring(
  'what was never acknowledged is no image, and its version is free',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1, 'v1')
    town.plant(markKey('jammy', image.uuid, 'a'), '{}')
    await lose(town, image)
    assert.match((await failure(store.get('jammy'))).message, 'There is no image')
    assert.equal(await store.versions('jammy'), [])
    const other = await put(store, 'jammy', 2, 'v1')
    assert.equal(await store.get('jammy'), other)
  }),
)

for (const [what, harm] of harms) {
  restoring(
    `other bytes do not take the place of those that are ${what}`,
    inTown(async (town) => {
      const { store } = await town.open()
      const image = await put(store, 'jammy', 1, 'v1')
      await harm(town, image)
      const before = town.keys()
      for (const asked of [
        request('jammy', { version: 'v1' }),
        request('jammy', { version: 'v1', size: 4096 }),
        request('jammy', { version: 'v1', expected: [`sha256:${'0'.repeat(64)}`] }),
      ]) {
        const error = await failure(store.ingest(asked, () => streamOf(disk(2))))
        assert.is(error.reason, 'already_exists')
        assert.equal(
          town.keys().filter((key) => !key.startsWith('.marks/')),
          before.filter((key) => !key.startsWith('.marks/')),
        )
      }
      assert.is((await store.get('jammy')).state, 'failed')
      assert.is((await put(store, 'jammy', 2)).version, '1')
    }),
  )

  restoring(
    `the same bytes serve instead of those that are ${what}, for all that share them`,
    inTown(async (town) => {
      const { store } = await town.open()
      const image = await put(store, 'jammy', 1, 'v1')
      const alike = await put(store, 'noble', 1, 'v1')
      const newest = await put(store, 'jammy', 2)
      await harm(town, image)
      const record = town.text(recordKey('jammy', 'v1'))
      const asked = request('noble', { version: 'v1' })
      const again = await store.ingest(asked, () => streamOf(disk(1)))
      assert.equal(again, { image: alike, created: false })
      for (const { store: each } of [{ store }, await town.open()]) {
        for (const name of ['jammy', 'noble']) {
          assert.ok((await bytesOf(each, name, 'v1')).equals(disk(1)))
          assert.is((await each.get(name, { version: 'v1' })).state, 'ready')
        }
        assert.equal(await each.get('jammy'), newest, 'what is newest stays')
        assert.ok(await each.openFile('jammy', image.uuid), 'the permanent link lives on')
        assert.ok(await each.blocks('jammy', { version: 'v1' }))
      }
      assert.is(town.text(recordKey('jammy', 'v1')), record)
      skip(6000)
      assert.equal(
        (await store.list()).map(({ state }) => state),
        ['ready', 'ready'],
      )
      await store.sweep()
      const { findings } = await scrubbed(store, { repair: true })
      assert.equal(
        findings.filter(({ level }) => level === 'fault'),
        [],
      )
      assert.ok((await bytesOf(store, 'jammy', 'v1')).equals(disk(1)))
      assert.equal(
        town.keys('.jobs/').filter((key) => !key.startsWith('.jobs/SCRUB/')),
        [],
      )
      await store.remove('jammy')
      assert.ok((await bytesOf(store, 'noble')).equals(disk(1)))
      await store.remove('noble')
      await store.sweep()
      assert.equal(copies(town), [])
    }),
  )

  restoring(
    `of two that bring bytes that are ${what} at once one stays, and an upload that breaks off leaves nothing`,
    inTown(async (town) => {
      const { store } = await town.open()
      const image = await put(store, 'jammy', 1, 'v1')
      await harm(town, image)
      const before = copies(town)
      const broken = request('jammy', { version: 'v1' })
      await store
        .ingest(broken, async function* () {
          yield disk(1).subarray(0, 1000)
          throw new Error('cut')
        })
        .then(
          () => assert.unreachable(),
          () => {},
        )
      assert.equal(copies(town), before)
      assert.is((await store.get('jammy')).state, 'failed')
      const [reached, held] = [latch(), latch()]
      const slow = store.ingest(request('jammy', { version: 'v1' }), async function* () {
        reached.open()
        await held.opened
        yield disk(1)
      })
      await reached.opened
      assert.is((await failure(put(store, 'jammy', 1, 'v1'))).code, 'unavailable')
      await scrubbed(store, { repair: true })
      held.open()
      assert.is((await slow).created, false)
      assert.ok((await bytesOf(store, 'jammy', 'v1')).equals(disk(1)))
      assert.is(copies(town).length, before.length + 1)
      assert.is(recordOf(town, 'jammy', 'v1').uuid, image.uuid)
    }),
  )
}

restoring(
  'what was replaced just before is not replaced by an upload that began earlier',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1, 'v1')
    await spoil(town, image)
    const healedBy = bytesKey('jammy', '0badcafe')
    backend.before = async (verb, key) => {
      if (verb !== 'put' || !key.startsWith('.jobs/jammy-')) return
      backend.before = undefined
      town.medium.write(healedBy, disk(1))
      await writeCorruption(backend, image, { expected: 'a', actual: 'b', healedBy })
    }
    const before = copies(town)
    const error = await failure(put(store, 'jammy', 1, 'v1'))
    assert.is(error.code, 'unavailable')
    assert.equal(copies(town), [healedBy, ...before].toSorted())
    assert.ok((await bytesOf(store, 'jammy', 'v1')).equals(disk(1)))
    assert.equal(await put(store, 'jammy', 1, 'v1'), image)
  }),
)

restoring.run()
