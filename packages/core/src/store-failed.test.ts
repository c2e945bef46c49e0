// Failed images do not pile up: they have a number, an age and an end.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { failOnce, failure, inTown, keysOf, put, request, skip } from './testing/rig.ts'

const failed = suite('store: failed images')

failed(
  'at most 20 failed images of a name are kept: the oldest goes',
  inTown(async (town) => {
    const { store } = await town.open()
    for (let count = 1; count <= 23; count++) await failOnce(store, 'jammy', `v${count}`)
    await failOnce(store, 'noble')
    const versions = (await store.versions('jammy')).map((image) => image.version)
    assert.equal(
      versions,
      Array.from({ length: 20 }, (_, index) => `v${23 - index}`),
    )
    assert.is((await store.versions('noble')).length, 1)
    assert.is(town.keys().length, 2 * 21)
  }),
)

failed(
  'at most 1,000 failed images are kept in all',
  inTown(async (town) => {
    for (let count = 0; count < 1005; count++) {
      const [folder, at] = [`.jobs/old-${count}-0badcafe`, new Date().toISOString()]
      const { description } = request('x')
      const claim = { layout: 1, name: `old-${count}`, uuid: '0badcafe', epoch: 1, version: '1' }
      const rest = { owner: 'gone', versionGiven: false, description, createdAt: at }
      town.plant(`${folder}/1.json`, JSON.stringify({ ...claim, ...rest }))
      town.plant(
        `${folder}/end.json`,
        JSON.stringify({ reason: 'internal', message: '', endedAt: at }),
      )
    }
    const { store } = await town.open()
    assert.is(town.keys().length, 2 * 1000, 'the sweep')
    await failOnce(store, 'jammy')
    assert.is(town.keys().length, 2 * 1000, 'one more')
    const names = new Set((await store.list()).map((image) => image.name))
    assert.equal([names.has('old-5'), names.has('old-6'), names.has('jammy')], [false, true, true])
  }),
)

failed(
  'a failed image goes when its name and version are published, others stay',
  inTown(async (town) => {
    const { store } = await town.open()
    await failOnce(store, 'jammy', 'v1')
    await failOnce(store, 'jammy', 'v1')
    await failOnce(store, 'jammy', 'v2')
    await failOnce(store, 'noble', 'v1')
    const image = await put(store, 'jammy', 1, 'v1')
    const found = (await store.versions('jammy')).map((each) => [each.version, each.state])
    assert.equal(found, [
      ['v1', 'ready'],
      ['v2', 'failed'],
    ])
    assert.is((await store.get('noble')).state, 'failed')
    assert.is(town.keys().length, keysOf(image).length + 4)
  }),
)

failed(
  'a failed image is kept for 24 hours by the clock of the store, and then no longer',
  inTown(async (town) => {
    const { store } = await town.open()
    await failOnce(store, 'jammy')
    town.pass(23.99)
    await store.sweep()
    assert.is((await store.get('jammy')).state, 'failed')
    town.pass(0.02)
    await store.sweep()
    assert.is((await failure(store.get('jammy'))).code, 'not_found')
    assert.equal(town.keys(), [])
  }),
)

failed(
  'a rollback takes a version past those of failed images',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    await failOnce(store, 'jammy')
    assert.is((await store.rollback('jammy', '1')).version, '3')
    const found = (await store.versions('jammy')).map((each) => `${each.version} ${each.state}`)
    assert.equal(new Set(found), new Set(['1 ready', '2 failed', '3 ready']))
  }),
)

failed(
  'what had failed before somebody listens is not told as news',
  inTown(async (town) => {
    const [one, other] = [await town.open(), await town.open()]
    await failOnce(one.store, 'jammy')
    const told: string[] = []
    other.store.subscribe((event) => {
      told.push(event.kind === 'image' ? `${event.image.name} ${event.image.state}` : event.kind)
    })
    await other.store.tend()
    await failOnce(one.store, 'noble')
    skip(3000)
    await other.store.tend()
    assert.equal(told, ['noble failed'])
  }),
)

failed.run()
