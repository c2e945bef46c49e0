// Bytes that are marked as corrupt are given to nobody, on any server, whatever names share them; what
// healed them is.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { writeCorruption } from './corrupt.ts'
import type { StoreEvent } from './event.ts'
import { Hasher } from './hasher.ts'
import { bytesKey, corruptKey } from './layout.ts'
import { Lookup } from './lookup.ts'
import { dropSpare } from './spare.ts'
import type { ImageStore } from './store.ts'
import { sweepSpares } from './sweep.ts'
import { MemoryBackend } from './testing/memory.ts'
import {
  copies,
  disk,
  engine,
  failure,
  inTown,
  put,
  recordOf,
  request,
  skip,
  streamOf,
} from './testing/rig.ts'
import { rot, scrubbed } from './testing/scrubbing.ts'

const sound = suite('store: corrupt bytes')

const hasher = new Hasher()

sound.after(async () => await hasher.close())

const corruption = { expected: 'sha512:aaaa', actual: 'sha512:bbbb' }

async function bytesOf(store: ImageStore, name: string, version?: string): Promise<Buffer> {
  const opened = await store.open(name, version === undefined ? {} : { version })
  return await readAll(await opened.read())
}

sound(
  'every image that shares them has failed, says why, and is not served by any server',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1)
    await put(store, 'noble', 1)
    const other = await town.open()
    await writeCorruption(backend, image, corruption)
    for (const each of [store, other.store]) {
      for (const name of ['jammy', 'noble']) {
        const found = await each.get(name)
        assert.is(found.state, 'failed')
        assert.match(found.message, /sha512:aaaa was expected, sha512:bbbb was found/)
        assert.equal(
          (await each.versions(name)).map(({ state }) => state),
          ['failed'],
        )
        for (const work of [
          each.open(name),
          each.openFile(name, found.uuid),
          each.blocks(name),
          each.get(name, { state: 'ready' }),
          each.rollback(name, '1'),
        ]) {
          const error = await failure(work)
          assert.equal([error.code, error.state], ['not_found', 'failed'])
        }
      }
      skip(6000)
      assert.equal(
        (await each.list()).map(({ state }) => state),
        ['failed', 'failed'],
      )
    }
  }),
)

sound(
  'a name means its newest sound version; the same content is stored anew and not shared',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    await put(store, 'jammy', 1)
    const bad = await put(store, 'jammy', 2)
    await writeCorruption(backend, bad, corruption)
    assert.is((await store.get('jammy')).version, '1')
    assert.ok((await bytesOf(store, 'jammy')).equals(disk(1)))
    assert.is((await store.get('jammy', { version: '2' })).state, 'failed')
    skip(6000)
    assert.is((await store.list())[0]?.version, '1')
    const again = await put(store, 'jammy', 2)
    assert.equal([again.state, again.version], ['ready', '3'])
    assert.ok((await bytesOf(store, 'jammy', '3')).equals(disk(2)))
  }),
)

sound(
  'what healed them is served in their place, and goes with them',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1)
    const healedBy = bytesKey('jammy', '0badcafe')
    town.plant(bytesKey('jammy', image.uuid), 'rotten')
    await writeCorruption(backend, image, { ...corruption, healedBy })
    assert.is((await store.get('jammy')).state, 'failed')
    town.medium.write(healedBy, disk(1))
    assert.is((await store.get('jammy')).state, 'ready')
    assert.ok((await bytesOf(store, 'jammy')).equals(disk(1)))
    await store.sweep()
    assert.ok((await bytesOf(store, 'jammy')).equals(disk(1)))
    const rollback = await store.rollback('jammy', '1')
    assert.ok((await bytesOf(store, 'jammy', rollback.version)).equals(disk(1)))
    await store.remove('jammy', { version: '1' })
    assert.ok((await bytesOf(store, 'jammy')).equals(disk(1)))
    await store.remove('jammy')
    assert.equal(town.unmarked(), [])
    assert.equal(
      town.keys().filter((key) => key.endsWith('corrupt.json')),
      [],
    )
  }),
)

sound(
  'who listens is told that images have failed, and that they are ready again',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const other = await town.open()
    const told: string[] = []
    other.store.subscribe((event: StoreEvent) => {
      if (event.kind === 'image') told.push(`${event.image.name} ${event.image.state}`)
    })
    await writeCorruption(other.backend, image, corruption)
    skip(6000)
    await other.store.tend()
    assert.is(told.at(-1), 'jammy failed')
    town.medium.write(bytesKey('jammy', '0badcafe'), disk(1))
    const healedBy = bytesKey('jammy', '0badcafe')
    await writeCorruption(other.backend, image, { ...corruption, healedBy })
    skip(6000)
    await other.store.tend()
    assert.is(told.at(-1), 'jammy ready')
  }),
)

sound(
  'a spare is read instead of corrupt bytes, and is not dropped',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1)
    await put(store, 'noble', 1)
    const record = recordOf(town, 'noble')
    const [shared = '', spare = ''] = record.keys
    // As a publisher leaves it that finds the shared bytes marked.
    town.medium.write(spare, disk(1))
    town.plant(shared, 'rotten')
    await writeCorruption(backend, image, corruption)
    const { rooms } = engine(new MemoryBackend({ shared: town.medium }), hasher)
    assert.is((await store.get('noble')).state, 'ready')
    assert.ok((await bytesOf(store, 'noble')).equals(disk(1)))
    assert.equal(await sweepSpares(rooms, { isDryRun: true }), [])
    assert.equal(await sweepSpares(rooms), [])
    assert.not(await dropSpare(rooms, record))
    assert.equal(copies(town), [shared, spare])
    town.medium.remove(corruptKey('jammy', image.uuid))
    town.medium.write(shared, disk(1))
    assert.equal(await sweepSpares(rooms), [spare])
  }),
)

sound(
  'a scrub that finds shared bytes corrupt keeps the spare, or copies it before it goes',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    await put(store, 'noble', 1)
    const [shared = '', spare = ''] = recordOf(town, 'noble').keys
    town.medium.write(spare, disk(1))
    rot(town, shared)
    await scrubbed(store, { repair: true })
    for (const name of ['jammy', 'noble']) {
      assert.ok((await bytesOf(store, name)).equals(disk(1)), name)
    }
  }),
)

sound(
  'what healed them is served also when the corrupt bytes were taken away by hand, and stays',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1, 'v1')
    const healedBy = bytesKey('jammy', '0badcafe')
    town.medium.write(healedBy, disk(1))
    await writeCorruption(backend, image, { ...corruption, healedBy })
    town.medium.remove(bytesKey('jammy', image.uuid))
    await store.sweep()
    assert.ok((await bytesOf(store, 'jammy')).equals(disk(1)))
    assert.is((await store.versions('jammy'))[0]?.state, 'ready')
    const again = request('jammy', { version: 'v1' })
    assert.is((await store.ingest(again, () => streamOf(disk(1)))).created, false)
    await store.remove('jammy')
    await store.sweep()
    assert.equal(town.unmarked(), [])
    assert.not.ok(town.keys().includes(corruptKey('jammy', image.uuid)))
  }),
)

sound(
  'a mark that can not be read says that the bytes are corrupt, and stands in nobody’s way',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const other = await put(store, 'noble', 2)
    const key = corruptKey('jammy', image.uuid)
    for (const text of ['', 'not JSON', '{"expected":7,"healedBy":"../x"}']) {
      town.plant(key, text)
      assert.match((await store.get('jammy')).message, 'what the mark does not tell was found')
    }
    await store.sweep()
    await store.remove('noble')
    assert.not.ok(town.keys().includes(bytesKey('noble', other.uuid)))
    await store.remove('jammy')
    assert.equal(town.unmarked(), [])
    assert.not.ok(town.keys().includes(key))
  }),
)

sound(
  'who asks for a corrupt image from its source once more is not told that it is there',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const old = await put(store, 'jammy', 1)
    const image = await put(store, 'jammy', 2)
    const lookup = new Lookup(engine(new MemoryBackend({ shared: town.medium }), hasher).rooms)
    await writeCorruption(backend, image, corruption)
    assert.is((await lookup.newest('jammy'))?.image.version, old.version)
    await writeCorruption(backend, old, corruption)
    assert.is(await lookup.newest('jammy'), undefined)
  }),
)

sound(
  'whoever sees it first, the list shows it and who listens is told',
  inTown(async (town) => {
    for (const name of ['seen-by-list', 'seen-by-versions']) {
      const { store, backend } = await town.open()
      const image = await put(store, name, 1, name)
      await store.list()
      const told: string[] = []
      store.subscribe((event: StoreEvent) => {
        if (event.kind === 'image') told.push(event.image.state)
      })
      await writeCorruption(backend, image, corruption)
      if (name === 'seen-by-list') skip(5001)
      else assert.is((await store.versions(name))[0]?.state, 'failed')
      const listed = (await store.list()).find((each) => each.name === name)
      assert.is(listed?.state, 'failed', name)
      assert.equal(told, ['failed'], name)
      await store.remove(name)
    }
  }),
)

sound.run()
