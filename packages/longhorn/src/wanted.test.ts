// Which versions are to be known, by what they are labelled with.

import type { Image, Published } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type RegisterMode, wantedOf } from './wanted.ts'

const wanting = suite('wanted')

function version(
  name: string,
  sequence: number,
  word?: string,
  uuid: string = `${name}-${sequence}`,
): Published {
  const labels: Record<string, string> = word === undefined ? {} : { longhorn: word }
  const image = { name, version: String(sequence), uuid, labels, updatedAt: '' }
  return { sequence, image: image as unknown as Image }
}

function wanted(all: Published[], mode: RegisterMode = 'all'): string[] {
  return wantedOf(all, mode)
    .map(({ image }) => `${image.name} ${image.version}`)
    .toSorted()
}

wanting('the newest of each name, whatever the order', () => {
  const all = [version('a', 2), version('a', 10), version('b', 1), version('a', 1)]
  assert.equal(wanted(all), ['a 10', 'b 1'])
  assert.equal(wanted(all.toReversed()), ['a 10', 'b 1'])
  assert.equal(wanted(all, 'off'), [])
})

wanting('older ones that are kept, and none that is off, which hides no older one', () => {
  const all = [version('a', 1), version('a', 2, 'keep'), version('a', 3, 'off')]
  assert.equal(wanted(all), ['a 2'])
  assert.equal(wanted([...all, version('a', 4)]), ['a 2', 'a 4'])
})

wanting('only what is labelled, where that is asked for', () => {
  const all = [
    version('a', 1, 'register'),
    version('a', 2),
    version('b', 1, 'register'),
    version('c', 1, 'keep'),
    version('c', 2, 'register'),
    version('d', 1, 'something'),
  ]
  assert.equal(wanted(all, 'labelled'), ['b 1', 'c 1', 'c 2'])
})

wanting('versions that share their bytes are there once', () => {
  const all = [version('a', 1, undefined, 'same'), version('a', 2), version('a', 3, 'keep', 'same')]
  assert.equal(wanted(all), ['a 3'])
  assert.equal(wanted([...all, version('a', 4, undefined, 'same')]), ['a 3'])
})

wanting.run()
