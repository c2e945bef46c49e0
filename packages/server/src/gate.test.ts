import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { isImageError } from '@backing-image/core'
import { Gate } from './gate.ts'
import { rejection } from './testing/serving.ts'

const gate = suite('gate')

const never = new AbortController().signal

gate('lets as many in as there are places, the others in the order they came', async () => {
  const two = new Gate(2)
  const [first, second] = [await two.enter(1000, never), await two.enter(1000, never)]
  const order: string[] = []
  const third = two.enter(1000, never).then((leave) => (order.push('third'), leave))
  const fourth = two.enter(1000, never).then((leave) => (order.push('fourth'), leave))
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(order, [])
  second()
  second()
  const leaveThird = await third
  assert.equal(order, ['third'], 'leaving twice gives one place')
  first()
  const leaveFourth = await fourth
  leaveThird()
  leaveFourth()
  ;(await two.enter(0, never))()
})

gate('who waits too long gets too_many_requests and no place', async () => {
  const one = new Gate(1)
  const leave = await one.enter(1000, never)
  const error = await rejection(one.enter(10, never))
  assert.ok(isImageError(error, 'resource_exhausted'))
  assert.is(error.reason, 'too_many_requests')
  leave()
  ;(await one.enter(0, never))()
})

gate('who goes away while waiting leaves the line', async () => {
  const one = new Gate(1)
  const leave = await one.enter(1000, never)
  const going = new AbortController()
  const waiting = one.enter(1000, going.signal)
  going.abort(new Error('gone'))
  assert.equal(await rejection(waiting), new Error('gone'))
  leave()
  ;(await one.enter(0, never))()
})

gate.run()
