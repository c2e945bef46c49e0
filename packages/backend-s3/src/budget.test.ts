import { setImmediate as turn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Budget, type Share } from './budget.ts'

const budget = suite('s3: budget')
const never = new AbortController().signal

/** Takes one in the background. */
function wanting(share: Share, signal: AbortSignal = never) {
  const wish: { got?: Buffer; error?: unknown } = {}
  share.take(signal).then(
    (buffer) => (wish.got = buffer),
    (error: unknown) => (wish.error = error),
  )
  return wish
}

budget('every put has one buffer at once, whatever the others hold', async () => {
  const all = new Budget(100)
  const greedy = all.share(100, 4)
  await greedy.take(never)
  await greedy.take(never)
  assert.is(all.usedBytes, 100)
  for (let count = 0; count < 50; count += 1) {
    assert.is((await all.share(100, 4).take(never)).length, 100)
  }
  assert.is(all.usedBytes, 100)
})

budget('further ones come in the order in which they were asked for', async () => {
  const all = new Budget(100)
  const holder = all.share(100, 4)
  await holder.take(never)
  const second = await holder.take(never)
  const shares = [1, 2, 3].map(() => all.share(100, 4))
  for (const share of shares) await share.take(never)
  const wishes = shares.map((share) => wanting(share))
  await turn()
  assert.equal(
    wishes.map(({ got }) => got !== undefined),
    [false, false, false],
  )
  holder.give(second)
  await turn()
  assert.equal(
    wishes.map(({ got }) => got !== undefined),
    [true, false, false],
  )
  assert.is(wishes[0]?.got, second)
  shares[0]?.give(second)
  // Who comes later does not overtake.
  const late = wanting(holder)
  await turn()
  assert.equal(
    wishes.map(({ got }) => got !== undefined),
    [true, true, false],
  )
  assert.is(late.got, undefined)
  assert.is(all.usedBytes, 100)
})

budget('a put whose own buffer comes back has it, though others wait in front of it', async () => {
  const all = new Budget(100)
  const holder = all.share(100, 4)
  await holder.take(never)
  await holder.take(never)
  const front = all.share(100, 4)
  await front.take(never)
  const slow = wanting(front)
  const own = all.share(100, 4)
  const only = await own.take(never)
  const wish = wanting(own)
  own.give(only)
  await turn()
  assert.is(wish.got, only)
  assert.is(slow.got, undefined)
})

budget('a put at its own maximum holds up nobody', async () => {
  const all = new Budget(1000)
  const share = all.share(100, 2)
  const first = await share.take(never)
  await share.take(never)
  const third = wanting(share)
  const other = all.share(100, 2)
  await other.take(never)
  const further = wanting(other)
  await turn()
  assert.ok(further.got)
  assert.is(third.got, undefined)
  share.give(first)
  await turn()
  assert.ok(third.got)
})

budget('who is aborted leaves the line, and those behind it move up', async () => {
  const all = new Budget(100)
  const large = all.share(100, 4)
  const small = all.share(50, 4)
  const third = all.share(50, 4)
  for (const share of [large, small, third]) await share.take(never)
  const held = await small.take(never)
  const controller = new AbortController()
  const first = wanting(large, controller.signal)
  const behind = wanting(third)
  await turn()
  assert.is(behind.got, undefined)
  const reason = new Error('stop')
  controller.abort(reason)
  await turn()
  assert.is(first.error, reason)
  assert.ok(behind.got)
  small.give(held)
  await turn()
  assert.is(first.got, undefined)
  assert.is(all.usedBytes, 50)
})

budget('when all is given back nothing is in use, and what is kept has a limit', async () => {
  const all = new Budget(250)
  const taken: [Share, Buffer][] = []
  for (let index = 0; index < 20; index += 1) {
    const share = all.share(100, 2)
    taken.push([share, await share.take(never)])
  }
  for (const [share, buffer] of taken) share.give(buffer)
  assert.is(all.usedBytes, 0)
  assert.is(all.idleBytes, 200)
})

budget.run()
