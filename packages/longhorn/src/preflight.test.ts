// What is said of an image before a consumer fetches it: what fits, what does not, and what to do.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type Consumer,
  type Preflight,
  type PreflightImage,
  type Reach,
  preflight,
} from './preflight.ts'

const looking = suite('preflight')

const image: PreflightImage = {
  name: 'debian',
  version: '1',
  size: 2 ** 20,
  virtualSize: 2 ** 31,
  format: 'qcow2',
  dataEngine: 'v1',
  nameInLonghorn: 'debian',
}
const reach: Reach = { publicUrl: 'https://images.example.org', isUnsigned: false }

function lookOf(
  consumer: Consumer,
  change: Partial<PreflightImage> = {},
  way: Reach = reach,
): Preflight {
  const found = preflight({ ...image, ...change }, way).find((each) => each.consumer === consumer)
  if (!found) throw new Error(`nothing is said of ${consumer}`)
  return found
}

looking('an image of whole sectors fits everywhere but in the engine that takes none', () => {
  assert.equal(
    preflight(image, reach).map(({ consumer, fits, rendition }) => [consumer, fits, rendition]),
    [
      ['longhorn-v1', true, 'stored'],
      ['longhorn-v2', false, 'stored'],
      ['cdi', true, 'stored'],
      ['qemu', true, 'stored'],
    ],
  )
  assert.match(lookOf('longhorn-v2').problems.join(), /1\.12.*DataVolume/)
})

looking('one that ends within a sector is given to Longhorn as its aligned rendition', () => {
  const { fits, rendition, notes } = lookOf('longhorn-v1', { size: 196_929 })
  assert.equal([fits, rendition], [true, 'aligned'])
  assert.match(notes.join(), /196929 is none.*191 zeros/)
  assert.is(lookOf('cdi', { size: 196_929 }).rendition, 'stored')
})

looking('another name in Longhorn is told', () => {
  const { fits, notes } = lookOf('longhorn-v1', { nameInLonghorn: 'debian-2' })
  assert.is(fits, true)
  assert.match(notes.join(), /goes by the name debian-2\./)
})

looking('what is meant for another engine does not fit', () => {
  assert.match(lookOf('longhorn-v1', { dataEngine: 'v2' }).problems.join(), /dataEngine/)
})

for (const [what, way, words] of [
  ['no public URL', { isUnsigned: false }, /PUBLIC_URL is not set/],
  [
    'a loopback one',
    { publicUrl: 'http://127.0.0.1:8080', isUnsigned: false },
    /PUBLIC_URL is http/,
  ],
  ['a local name', { publicUrl: 'http://localhost:8080', isUnsigned: false }, /itself/],
  ['its own address', { publicUrl: 'http://[::1]:8080', isUnsigned: false }, /itself/],
  ['no key to sign with', { ...reach, isUnsigned: true }, /URL_SIGNING_KEY/],
] as const) {
  looking(`with ${what} only who has credentials can fetch it`, () => {
    for (const consumer of ['longhorn-v1', 'cdi'] as const) {
      const { fits, problems } = lookOf(consumer, {}, way)
      assert.is(fits, false)
      assert.match(problems.join(), words)
    }
    assert.is(lookOf('qemu', {}, way).fits, true)
  })
}

looking.run()
