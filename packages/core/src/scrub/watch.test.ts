// A scrub whose process has died, or may have, ends: nobody waits for it, and none runs beside another.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ImageError } from '../errors.ts'
import { scrubLockKey } from '../layout.ts'
import { MemoryBackend } from '../testing/memory.ts'
import { failure, inTown, put, skip } from '../testing/rig.ts'
import { ended, midway, scrubbed } from '../testing/scrubbing.ts'

const watch = suite('scrubs: dead and silent processes')

const nowhere = '0123456789abcdef'

/** Of a store that can prove no death. */
class Mute extends MemoryBackend {
  override async isGone(): Promise<boolean> {
    return false
  }
}

watch(
  'where the death of a process can be proven, its scrub has failed at the next look',
  inTown(async (town) => {
    const { backend, id } = await midway(town)
    const other = await town.open()
    await other.store.scrubs.watch()
    assert.is((await other.store.scrubs.get(id)).state, 'running', 'it lives')
    town.medium.kill(backend.owner)
    await other.store.scrubs.watch()
    const report = await other.store.scrubs.get(id)
    assert.is(report.state, 'failed')
    assert.match(report.message, 'Start it again')
    assert.not.ok(town.keys().includes(scrubLockKey))
    assert.is((await scrubbed(other.store)).state, 'done')
  }),
)

watch(
  'who asks for a scrub need not wait for anybody to notice that the last one died',
  inTown(async (town) => {
    const { backend, id } = await midway(town)
    town.medium.kill(backend.owner)
    const other = await town.open()
    assert.is((await scrubbed(other.store)).state, 'done')
    assert.is((await other.store.scrubs.get(id)).state, 'failed')
  }),
)

watch(
  'where it can not, its scrub has failed after four looks over thirty seconds, and not before',
  inTown(async (town) => {
    const { store, backend, id } = await midway(town)
    const other = await town.open({}, new Mute({ shared: town.medium }))
    const look = async (afterMs: number): Promise<string> => {
      skip(afterMs)
      await other.store.scrubs.watch()
      return (await other.store.scrubs.get(id)).state
    }
    assert.equal([await look(0), await look(6000), await look(6000)], Array(3).fill('running'))
    await store.scrubs.beat()
    town.medium.kill(backend.owner)
    const states = [await look(10_000), await look(10_000), await look(10_000)]
    assert.equal(states, Array(3).fill('running'), 'it had beaten since')
    assert.is(await look(10_000), 'failed')
    assert.not.ok(town.keys().includes(scrubLockKey))
  }),
)

watch(
  'a scrub that was taken for dead stops when it wakes, and takes nobody’s lock away',
  inTown(async (town) => {
    const one = await midway(town)
    town.plant(scrubLockKey, JSON.stringify({ id: nowhere, owner: 'another' }))
    await one.store.scrubs.beat()
    one.go()
    const report = await ended(one.store, one.id)
    assert.is(report.state, 'failed')
    assert.match(report.message, 'took this scrub for dead')
    await one.store.scrubs.stop()
    assert.match(town.text(scrubLockKey), nowhere)
  }),
)

watch(
  'a scrub that could not write for twenty seconds stops, and says so once it can write again',
  inTown(async (town) => {
    const one = await midway(town)
    const other = await town.open({}, new Mute({ shared: town.medium }))
    one.backend.before = (_, key) => {
      if (key.startsWith('.jobs/SCRUB/')) throw new ImageError('unavailable', 'It is away.')
    }
    await one.store.scrubs.beat()
    skip(21_000)
    await one.store.scrubs.beat()
    assert.is((await other.store.scrubs.get(one.id)).state, 'running')
    one.backend.before = undefined
    await one.store.scrubs.watch()
    const report = await other.store.scrubs.get(one.id)
    assert.is(report.state, 'failed')
    assert.match(report.message, 'did not answer')
    assert.not.ok(town.keys().includes(scrubLockKey))
    assert.ok(one.problems.length > 0)
  }),
)

watch(
  'a scrub whose storage goes away has failed, and says so',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    await put(store, 'jammy', 1)
    backend.before = (verb, key) => {
      if (verb === 'list' && key === '') town.medium.kill(backend.owner)
    }
    const { id } = await store.scrubs.start()
    await store.scrubs.stop()
    const other = await town.open()
    await other.store.scrubs.watch()
    assert.is((await other.store.scrubs.get(id)).state, 'failed')
  }),
)

watch(
  'a server that stops ends its scrub first, and begins no other',
  inTown(async (town) => {
    const one = await midway(town)
    const stopping = one.store.scrubs.stop()
    one.go()
    await stopping
    const report = await one.store.scrubs.get(one.id)
    assert.is(report.state, 'failed')
    assert.match(report.message, 'server stopped')
    assert.is((await failure(one.store.scrubs.start())).code, 'cancelled')
    assert.not.ok(town.keys().includes(scrubLockKey))
  }),
)

watch.run()
