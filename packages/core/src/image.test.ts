// An image as the outside sees it: the parts that are made, not copied.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { consumerName } from './consumer-name.ts'
import { nextVersion } from './image.ts'

const image = suite('image')

image('a name that Kubernetes takes stays as it is', () => {
  for (const name of ['ab', 'debian-12.7', 'a'.repeat(40), '0x']) {
    assert.is(consumerName(name, '1'), name)
  }
})

image(
  'any other gets one of at most 40 characters that Kubernetes takes, by name and version',
  () => {
    const names = [
      'a_b',
      'a..b',
      'ab-',
      'ab.',
      'a.-b',
      'a'.repeat(41),
      `${'a'.repeat(30)}__${'b'.repeat(20)}`,
    ]
    for (const name of names) {
      const other = consumerName(name, '1')
      assert.match(other, /^[a-z0-9][-a-z0-9]*[a-z0-9]$/)
      assert.ok(other.length <= 40, other)
      assert.is(other, consumerName(name, '1'))
      assert.is.not(other, consumerName(name, '2'))
    }
  },
)

image('the next version is one more than the highest number', () => {
  assert.is(nextVersion([]), '1')
  assert.is(nextVersion(['1', '10', 'x', '9', '007']), '11')
  assert.throws(() => nextVersion(['999999999999999']), /give one/)
})

image.run()
