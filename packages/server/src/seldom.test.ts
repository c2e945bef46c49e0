import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Seldom, SeldomByText } from './seldom.ts'

const seldom = suite('seldom')

seldom('the first is told, then one in a while, with how many were kept back', async () => {
  const subject = new Seldom(200)
  assert.is(subject.next(), 0)
  for (let count = 0; count < 100; count++) assert.is(subject.next(), undefined)
  await pause(250)
  assert.is(subject.next(), 100)
  assert.is(subject.next(), undefined)
})

seldom('each text is told by itself', () => {
  const texts = new SeldomByText()
  assert.equal(
    ['a', 'b', 'a', 'b', 'c'].map((text) => texts.next(text)),
    [0, 0, undefined, undefined, 0],
  )
})

seldom.run()
