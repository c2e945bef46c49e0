// The bytes of another manager: what is asked for again, and what is none of its image.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { isImageError } from '../errors.ts'
import { SourceChanged } from '../source/failure.ts'
import { disk, failure } from '../testing/rig.ts'
import { type Rig, body, facing } from './testing/facing.ts'
import type { Mischief } from './testing/manager.ts'

const bytes = suite('bytes of another manager')

const { signal } = new AbortController()

const image = (rig: Rig) => rig.remote.image('base', undefined, signal)

bytes(
  'a connection that breaks is gone on with where it was',
  facing({ retryDelaysMs: [0] }, async (rig) => {
    const found = await image(rig)
    // Each time new bytes: never two failures in a row.
    rig.manager.mischief = ({ start }) => (start < 250_000 ? { cutAfterBytes: 70_000 } : undefined)
    const part = await rig.remote.bytes(found, { start: 1, end: 299_999 }, signal)
    assert.ok(Buffer.from(part).equals(body.subarray(1)))
    const starts = rig.manager.of('download').map(({ start }) => start)
    assert.ok(starts.length >= 4 && starts.every((start, at) => start > (starts[at - 1] ?? 0)))
    assert.is(rig.troubles.length, 1)
  }),
)

bytes(
  'it is given up after so many failures in a row without a byte',
  facing({ retryDelaysMs: [0, 0, 0] }, async (rig) => {
    const found = await image(rig)
    rig.manager.mischief = ({ count }) => ({ status: 503, body: String(count) })
    const error = await failure(rig.remote.bytes(found, { start: 0, end: 9 }, signal))
    assert.match(error.message, /given up: 4 times in a row not a byte came.*503/)
    assert.is(rig.manager.of('download').length, 4)
  }),
)

for (const [status, which] of [
  [404, 'deleted'],
  [412, 'replaced'],
] as const) {
  bytes(
    `an image that is ${which} on the way must be begun anew`,
    facing({ retryDelaysMs: [0, 0] }, async (rig) => {
      const found = await image(rig)
      rig.manager.isDeleted = status === 404
      if (status === 412) rig.manager.disk = disk(2, 300_000)
      const error = await failure(rig.remote.bytes(found, { start: 0, end: 9 }, signal))
      assert.instance(error, SourceChanged)
      assert.match(error.message, /base 1 was deleted or replaced/)
      assert.is(rig.manager.of('download').length, 1)
    }),
  )
}

const strange: [string, Mischief, RegExp][] = [
  ['another range', { headers: { 'content-range': 'bytes 1-10/300000' } }, /1-10.*proxy/],
  ['a range of another image', { headers: { 'content-range': 'bytes 0-9/300001' } }, /300001/],
  ['all of it', { status: 200 }, /answered 200/],
  ['something packed', { headers: { 'content-encoding': 'gzip' } }, /packs what passes/],
  ['too much', { body: Buffer.alloc(11) }, /too many bytes/],
  ['too little, again and again', { body: '' }, /given up.*came short/],
]
for (const [what, mischief, expected] of strange) {
  bytes(
    `an answer with ${what} is no part of the image`,
    facing({}, async (rig) => {
      const found = await image(rig)
      rig.manager.mischief = () => mischief
      const error = await failure(rig.remote.bytes(found, { start: 0, end: 9 }, signal))
      assert.match(error.message, expected)
      assert.ok(!isImageError(error, 'unavailable'))
    }),
  )
}

bytes(
  'another ETag than the one that was asked for is another image',
  facing({}, async (rig) => {
    const found = await image(rig)
    rig.manager.mischief = () => ({ headers: { etag: '"other"' } })
    const error = await failure(rig.remote.bytes(found, { start: 0, end: 9 }, signal))
    assert.instance(error, SourceChanged)
  }),
)

bytes.run()
