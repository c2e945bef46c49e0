// One process leads; another takes over when that one has stopped, died or fallen silent, and not before.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesOf, readAll } from './backend.ts'
import { leaderKey } from './layout.ts'
import { Leader } from './leader.ts'
import { MemoryBackend, MemoryStore } from './testing/memory.ts'

const leading = suite('leader')
const key = leaderKey('one')

/** Two processes of one store, and a clock that only moves when it is told to. */
function two() {
  const shared = new MemoryStore()
  const [first, second] = [new MemoryBackend({ shared }), new MemoryBackend({ shared })]
  const clock = { nowMs: 1000 }
  const now = (): number => clock.nowMs
  return {
    shared,
    clock,
    first,
    one: new Leader(first, key, now),
    other: new Leader(second, key, now),
  }
}

leading('of two that look one leads, and goes on', async () => {
  const { one, other, clock } = two()
  assert.is(await one.look(), true)
  for (let round = 0; round < 20; round += 1) {
    clock.nowMs += 4000
    assert.is(await other.look(), false)
    assert.is(await one.look(), true)
  }
  assert.equal([one.isLeading, other.isLeading], [true, false])
})

leading('at the same moment only one begins', async () => {
  const { one, other } = two()
  const began = await Promise.all([one.look(), other.look()])
  assert.is(began.filter(Boolean).length, 1)
})

leading('one that leaves makes room at once, and may come back', async () => {
  const { one, other } = two()
  await one.look()
  await one.leave()
  assert.is(one.isLeading, false)
  assert.is(await other.look(), true)
  assert.is(await one.look(), false)
  await other.leave()
  assert.is(await one.look(), true)
})

leading('one that is certainly dead is followed at once', async () => {
  const { one, other, first, shared } = two()
  await one.look()
  assert.is(await other.look(), false)
  shared.kill(first.owner)
  assert.is(await other.look(), true)
})

leading('one that is silent is followed after 30 s and four looks, and gives way', async () => {
  const { one, other, clock } = two()
  await one.look()
  for (let round = 0; round < 3; round += 1) {
    assert.is(await other.look(), false)
    clock.nowMs += 9_900
  }
  // By its own clock it stopped long before.
  assert.is(one.isLeading, false)
  assert.is(await other.look(), false)
  clock.nowMs += 9_900
  assert.is(await other.look(), true)
  assert.is(await one.look(), false)
  assert.is(await other.look(), true)
})

leading('one that leaves late takes nothing from its successor', async () => {
  const { one, other, first, shared } = two()
  await one.look()
  const late = new Leader(first, key)
  await one.leave()
  assert.is(await other.look(), true)
  await one.leave()
  await late.leave()
  assert.is(await other.look(), true)
  const told = JSON.parse((await readAll(await first.get(key))).toString()) as { count: number }
  assert.is(told.count, 2)
  assert.ok(shared)
})

leading('what can not be read names nobody who lives', async () => {
  const { one, first, clock } = two()
  await first.put(key, bytesOf('{'))
  let rounds = 0
  while (!(await one.look()) && rounds < 10) {
    rounds += 1
    clock.nowMs += 10_000
  }
  assert.is(one.isLeading, true)
})

leading.run()
