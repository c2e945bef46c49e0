// With an interval the store is scrubbed once in it, by one process, whatever their number.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { scrubLockKey } from '../layout.ts'
import { inTown } from '../testing/rig.ts'
import { ended, fast, midway, scrubbed } from '../testing/scrubbing.ts'

const interval = suite('scrubs: interval')

const weekMs = 7 * 24 * 3_600_000

interval(
  'with an interval one process begins a scrub with repair when the last began so long ago',
  inTown(async (town) => {
    const scrub = { ...fast, intervalMs: weekMs }
    const servers = [await town.open({ scrub }), await town.open({ scrub })]
    const [first] = servers
    if (!first) throw new Error('there is no server')
    const count = async (): Promise<number> => {
      for (const { store } of servers) await store.scrubs.startWhenDue()
      const listed = await first.store.scrubs.list()
      for (const { id } of listed) await ended(first.store, id)
      return listed.length
    }
    assert.is(await count(), 1, 'there was none')
    assert.is((await first.store.scrubs.list())[0]?.repair, true)
    assert.is(await count(), 1)
    town.pass(24 * 7 - 1)
    assert.is(await count(), 1, 'an hour too early')
    town.pass(1.1)
    assert.is(await count(), 2)
    const off = await town.open({ scrub: fast })
    town.pass(24 * 30)
    await off.store.scrubs.startWhenDue()
    assert.is((await first.store.scrubs.list()).length, 2, 'without an interval none')
  }),
)

interval(
  'two that both find one due begin one',
  inTown(async (town) => {
    const scrub = { ...fast, intervalMs: weekMs }
    const [one, two] = [await town.open({ scrub }), await town.open({ scrub })]
    // The second has looked before the first begins, and locks when that has ended.
    two.backend.before = async (verb, key) => {
      if (verb !== 'put' || key !== scrubLockKey) return
      two.backend.before = undefined
      await scrubbed(one.store)
      while (town.keys().includes(scrubLockKey)) await one.store.scrubs.beat()
    }
    await two.store.scrubs.startWhenDue()
    assert.is((await one.store.scrubs.list()).length, 1)
    assert.not.ok(town.keys().includes(scrubLockKey))
  }),
)

interval(
  'one that failed is tried again after an hour, not at once and not only after the interval',
  inTown(async (town) => {
    const dying = await midway(town)
    town.medium.kill(dying.backend.owner)
    const { store } = await town.open({ scrub: { ...fast, intervalMs: weekMs } })
    await store.scrubs.watch()
    await store.scrubs.startWhenDue()
    assert.is((await store.scrubs.list()).length, 1)
    town.pass(1.1)
    await store.scrubs.startWhenDue()
    assert.is((await store.scrubs.list()).length, 2)
  }),
)

interval.run()
