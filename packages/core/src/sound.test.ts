// Bytes that are marked as corrupt are given to nobody, on any server, whatever names share them; what
// healed them is.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { writeCorruption } from './corrupt.ts'
import type { StoreEvent } from './event.ts'
import { bytesKey } from './layout.ts'
import type { ImageStore } from './store.ts'
import { disk, failure, inTown, put, skip } from './testing/rig.ts'

const sound = suite('store: corrupt bytes')

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

sound.run()
