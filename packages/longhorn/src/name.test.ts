// The names under which Longhorn is told of images: kept as they are, and never the same for two.

import { createHash } from 'node:crypto'
import { isConsumerName } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { longhornNames } from './name.ts'

const naming = suite('names in Longhorn')

const tail = (name: string, version: string): string =>
  createHash('sha256').update(`${name}\0${version}`).digest('hex').slice(0, 8)

naming('an image is called what it is called here; a later version by both', () => {
  assert.is(longhornNames('jammy', '1', true)[0], 'jammy')
  assert.is(longhornNames('jammy', '20.04', false)[0], 'jammy-20.04')
  assert.is(longhornNames('jammy', 'RC1', false)[0], 'jammy-rc1')
})

naming('where that is taken there is another one, which is the same each time', () => {
  assert.equal(longhornNames('jammy', '2', false), ['jammy-2', `jammy-2-${tail('jammy', '2')}`])
})

for (const [what, name, version] of [
  ['over 40 characters', 'a'.repeat(38), '2.1'],
  ['with a letter that Kubernetes does not take', 'my_image', '1'],
  ['with an end that Kubernetes does not take', 'jammy-', '1'],
  ['with dots side by side', 'a..b', '1'],
] as const) {
  naming(`one ${what} is cut to what Longhorn leaves as it is`, () => {
    const isFirst = version === '1'
    const [only, ...others] = longhornNames(name, version, isFirst)
    assert.equal(others, [])
    assert.ok(only?.endsWith(`-${tail(name, version)}`), only)
    assert.is(only?.[0], name[0])
    assert.ok(isConsumerName(only ?? ''), only)
  })
}

naming('40 characters are kept, and 41 are cut', () => {
  const name = 'a'.repeat(40)
  assert.is(longhornNames(name, '1', true)[0], name)
  assert.is(longhornNames(`${name}a`, '1', true)[0]?.length, 40)
})

naming('what differs in a letter case or a sign only has names of its own', () => {
  const all = [
    longhornNames('my_image', '1', true),
    longhornNames('my-image', '1', true),
    longhornNames('my-image', 'a', false),
    longhornNames('my-image', 'A', false),
  ].map((each) => each.at(-1))
  assert.is(new Set(all).size, all.length)
})

naming.run()
