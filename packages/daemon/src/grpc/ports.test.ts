// The ports of receivers: none twice, none lost, none again at once.

import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Ports } from './ports.ts'

const ports = suite('ports')

ports('every port of the range is given once, then there is none', () => {
  const range = new Ports({ first: 5, last: 7 })
  const taken = [range.take(), range.take(), range.take()]
  assert.equal(
    taken.map(({ port }) => port),
    [5, 6, 7],
  )
  assert.throws(
    () => range.take(),
    (error: unknown) => isImageError(error, 'resource_exhausted'),
  )
  taken[1]?.release()
  assert.is(range.take().port, 6)
})

ports('a port that is given back comes last, and once however often it is given back', () => {
  const range = new Ports({ first: 5, last: 7 })
  const { port, release } = range.take()
  release()
  release()
  assert.is(port, 5)
  assert.equal([range.take().port, range.take().port, range.take().port], [6, 7, 5])
  assert.throws(() => range.take())
})

ports('nothing is lost in many rounds', () => {
  const range = new Ports({ first: 1, last: 3 })
  for (let round = 0; round < 1000; round += 1) {
    const [first, second] = [range.take(), range.take()]
    assert.is.not(first.port, second.port)
    second.release()
    first.release()
  }
  assert.is(new Set([range.take().port, range.take().port, range.take().port]).size, 3)
})

ports.run()
