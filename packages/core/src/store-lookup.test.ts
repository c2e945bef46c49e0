// What a name, a version and a uuid mean, whatever state the work is in.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { bytesKey } from './layout.ts'
import type { ImageStore } from './store.ts'
import { disk, failOnce, failure, half, inTown, put, request, streamOf } from './testing/rig.ts'

const lookup = suite('store: lookup')

async function bytesOfImage(store: ImageStore, name: string, version?: string): Promise<Buffer> {
  const opened = await store.open(name, version === undefined ? {} : { version })
  return await readAll(await opened.read())
}

lookup(
  'a bare name is the newest published version, whatever else is going on',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1, '9')
    await put(store, 'jammy', 2, 'v1')
    const image = await put(store, 'jammy', 3, '2')
    await failOnce(store, 'jammy', 'v3')
    const slow = await half(store, 'jammy', 'v4')
    assert.equal(await store.get('jammy'), image)
    assert.equal(await store.get('jammy', { state: 'ready' }), image)
    assert.ok((await bytesOfImage(store, 'jammy')).equals(disk(3)))
    assert.ok((await bytesOfImage(store, 'jammy', '9')).equals(disk(1)))
    await slow.go()
    assert.is((await store.get('jammy')).version, 'v4')
  }),
)

lookup(
  'where nothing is published a bare name is the work in flight, else what failed last',
  inTown(async (town) => {
    const { store } = await town.open()
    await failOnce(store, 'jammy', 'a')
    await pause(2)
    await failOnce(store, 'jammy', 'b')
    assert.is((await store.get('jammy')).version, 'b')
    await pause(2)
    const slow = await half(store, 'jammy', 'c')
    await failOnce(store, 'jammy', 'd')
    const image = await store.get('jammy')
    assert.equal([image.version, image.state, image.progress], ['c', 'in-progress', 50])
    assert.is(image.processedSize, 1024 * 1024)
    await slow.go()
  }),
)

lookup(
  'nothing that is not ready is ready, and the error tells the state',
  inTown(async (town) => {
    const { store } = await town.open()
    const slow = await half(store, 'jammy')
    await failOnce(store, 'noble')
    for (const [name, state] of [
      ['jammy', 'in-progress'],
      ['noble', 'failed'],
    ] as const) {
      for (const select of [{}, { version: '1' }, { uuid: (await store.get(name)).uuid }]) {
        const opening = await failure(store.open(name, select))
        assert.equal([opening.code, opening.state], ['not_found', state])
        const getting = await failure(store.get(name, { ...select, state: 'ready' }))
        assert.equal([getting.code, getting.state], ['not_found', state])
      }
    }
    assert.match((await failure(store.open('noble'))).message, 'Only 0 of 1 bytes')
    const none = await failure(store.open('bionic'))
    assert.equal([none.code, none.state], ['not_found', undefined])
    await slow.go()
  }),
)

lookup(
  'a version is the published one, else its newest job; another version is not found',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1, 'v1')
    await failOnce(store, 'jammy', 'v2')
    const slow = await half(store, 'jammy', 'v1', false)
    assert.equal(await store.get('jammy', { version: 'v1' }), image)
    assert.is((await store.get('jammy', { version: 'v2' })).state, 'failed')
    assert.is((await failure(store.get('jammy', { version: 'v3' }))).code, 'not_found')
    assert.is((await failure(store.get('jamm', { version: 'v1' }))).code, 'not_found')
    assert.is((await failure(slow.go())).code, 'already_exists')
  }),
)

lookup(
  'a uuid is one ingest through all its states',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    const slow = await half(store, 'jammy')
    const [inFlight] = await store.inFlight()
    const uuid = inFlight?.uuid ?? ''
    assert.is((await store.get('jammy', { uuid })).state, 'in-progress')
    const image = await slow.go()
    assert.is(image.uuid, uuid)
    assert.equal(await store.get('jammy', { uuid }), image)
    assert.is((await failure(store.get('jammy', { uuid: '00000000' }))).code, 'not_found')
    assert.equal(await store.inFlight(), [])
  }),
)

lookup(
  'the uuid that a rollback shares is the version that brought it, until that goes',
  inTown(async (town) => {
    const { store } = await town.open()
    const { uuid } = await put(store, 'jammy', 1)
    await put(store, 'jammy', 2)
    const back = await store.rollback('jammy', '1')
    assert.is(back.uuid, uuid)
    assert.is((await store.get('jammy', { uuid })).version, '1')
    await store.remove('jammy', { version: '1' })
    assert.is((await store.get('jammy', { uuid })).version, '3')
    const file = await store.openFile('jammy', uuid)
    assert.ok((await readAll(await file.read())).equals(disk(1)))
    await store.remove('jammy', { version: '3' })
    assert.is((await failure(store.openFile('jammy', uuid))).code, 'not_found')
  }),
)

lookup(
  'a part of the bytes is exactly that part, and one outside is refused',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    const { read, image } = await store.open('jammy')
    const part = await readAll(await read({ start: 600, end: 2000 }))
    assert.ok(part.equals(disk(1).subarray(600, 2001)))
    const error = await failure(read({ start: 0, end: image.size }))
    assert.is(error.reason, 'range_not_satisfiable')
  }),
)

lookup(
  'versions are the work in flight, then what is published with the failures in between',
  inTown(async (town) => {
    const { store } = await town.open()
    const steps: ['put' | 'fail', string][] = [
      ['fail', 'oldest'],
      ['put', '7'],
      ['fail', 'middle'],
      ['put', 'a'],
      ['put', '3'],
      ['fail', 'youngest'],
    ]
    for (const [step, version] of steps) {
      if (step === 'put') await put(store, 'jammy', 1, version)
      else await failOnce(store, 'jammy', version)
      await pause(2)
    }
    const first = await half(store, 'jammy', 'f1')
    await pause(2)
    const second = await half(store, 'jammy', 'f2')
    const versions = (await store.versions('jammy')).map((image) => image.version)
    assert.equal(versions, ['f2', 'f1', 'youngest', '3', 'a', 'middle', '7', 'oldest'])
    assert.equal(await store.versions('none'), [])
    await first.go()
    await second.go()
  }),
)

lookup(
  'published versions keep the order of their publishing, also where a clock went back',
  inTown(async (town) => {
    const { store } = await town.open()
    const realNow = Date.now
    const RealDate = Date
    const { image } = await store.ingest(request('jammy'), () => streamOf(disk(1)))
    globalThis.Date = class extends RealDate {
      constructor(...given: [] | [number | string]) {
        super(...((given.length === 0 ? [realNow() - 86_400_000] : given) as [number]))
      }
    } as DateConstructor
    try {
      await put(store, 'jammy', 2)
      await failOnce(store, 'jammy', 'failed')
    } finally {
      globalThis.Date = RealDate
    }
    const versions = (await store.versions('jammy')).map((each) => each.version)
    assert.ok(versions.indexOf('2') < versions.indexOf('1'), versions.join(' '))
    assert.is(versions.length, 3)
    assert.ok((await store.get('jammy')).updatedAt < image.updatedAt)
  }),
)

lookup(
  'waiting ends when the image is ready or failed, or the time is over',
  inTown(async (town) => {
    const { store } = await town.open()
    const slow = await half(store, 'jammy')
    const early = await store.wait('jammy', {}, 10)
    assert.is(early.state, 'in-progress')
    const waiting = store.wait('jammy', {}, 60_000)
    const image = await slow.go()
    assert.equal(await waiting, image)
    await failOnce(store, 'noble')
    assert.is((await store.wait('noble', {}, 60_000)).state, 'failed')
    assert.is((await failure(store.wait('bionic', {}, 60_000))).code, 'not_found')
    const again = await half(store, 'lunar')
    const left = store.wait('lunar', {}, 60_000, AbortSignal.timeout(10))
    assert.is(await left.catch((error: Error) => error.name), 'AbortError')
    await again.go()
  }),
)

lookup(
  'a published image whose bytes are gone has failed, and the one before it is found',
  inTown(async (town) => {
    const { store } = await town.open()
    const first = await put(store, 'jammy', 1)
    const second = await put(store, 'jammy', 2)
    town.medium.remove(bytesKey('jammy', second.uuid))
    assert.equal(await store.get('jammy'), first)
    assert.is((await failure(store.open('jammy', { version: '2' }))).code, 'not_found')
  }),
)

lookup(
  'one broken record hides no other image, and is told of',
  inTown(async (town) => {
    const { store, problems } = await town.open()
    const image = await put(store, 'jammy', 1)
    town.plant('.catalog/jammy/2.json', '{"layout":1')
    town.plant('.catalog/noble/1.json', '{"layout":99}')
    assert.equal(await store.get('jammy'), image)
    assert.is((await failure(store.get('noble'))).code, 'not_found')
    assert.match(problems.map((error) => error.message).join(), '.catalog/jammy/2.json')
    assert.is((await put(store, 'jammy', 3)).version, '3', 'the label is taken all the same')
    const error = await failure(put(store, 'jammy', 4, '2'))
    assert.is(error.code, 'already_exists')
    assert.match(error.message, /\.catalog\/jammy\/2\.json, .*can not be read.* A scrub .*delete/)
    const own = (key: string): boolean => key.startsWith('jammy-')
    assert.is(town.keys().filter(own).length, 2 * 3, 'nothing is left of what was refused')
    assert.is(town.text('.catalog/jammy/2.json'), '{"layout":1')
  }),
)

for (const [what, look] of Object.entries({
  'its uuid': (store: ImageStore, uuid: string) => store.get('jammy', { uuid }),
  'its name': (store: ImageStore) => store.get('jammy'),
  'all versions': async (store: ImageStore) => (await store.versions('jammy'))[0],
})) {
  lookup(
    `work that is published during a look for ${what} is found`,
    inTown(async (town) => {
      const { store } = await town.open()
      const reader = await town.open()
      const slow = await half(store, 'jammy')
      const [{ uuid } = { uuid: '' }] = await store.versions('jammy')
      // When the records have been looked at, and the jobs have not.
      let published: Promise<unknown> | undefined
      reader.backend.before = async (verb, key) => {
        if (verb !== 'list' || !key.startsWith('.jobs/')) return
        await pause(10)
        await (published ??= slow.go())
      }
      const image = await look(reader.store, uuid)
      assert.equal([image?.uuid, image?.state], [uuid, 'ready'])
    }),
  )
}

lookup.run()
