// What does not fit into the parts of one upload, with four parts where there are 9,000.

import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Place, putStream } from './multipart.ts'
import { bytesMaxOf, parseTemporaryKey, planFor, segmentParts, temporaryKey } from './segments.ts'
import { type Rig, assertNothingLeft, assertStored, content, failure } from './testing/putting.ts'
import { key, partBytes, refusal, source, withRig } from './testing/putting.ts'

const segments = suite('s3: segments')
const gibibyte = 2 ** 30

function small({ place }: Rig): Place & { cannotJoin?: boolean } {
  return Object.assign(place, { plan: { partBytes, partsMax: 4 } })
}

segments('a plan reaches 5 TiB for what has a size, and 3 TiB for what has none', () => {
  assert.is(planFor(0).partBytes, 8 * 2 ** 20)
  assert.is(planFor(9_000 * 8 * 2 ** 20).partBytes, 8 * 2 ** 20)
  assert.is(planFor(9_000 * 8 * 2 ** 20 + 1).partBytes, 16 * 2 ** 20)
  const reach = (sizeBytes: number): number => {
    const plan = planFor(sizeBytes)
    let bytes = plan.partsMax * plan.partBytes
    for (let index = 0; ; index += 1) {
      const parts = segmentParts(plan, index, sizeBytes - bytes)
      if (parts === undefined) return bytes
      assert.ok(parts >= 1 && parts <= 9_000 && parts * plan.partBytes <= 5 * gibibyte)
      bytes += parts * plan.partBytes
    }
  }
  const known = bytesMaxOf(planFor(5 * 1024 * gibibyte))
  assert.is(known, 5 * 1024 * gibibyte)
  assert.ok(reach(known) >= known)
  assert.ok(reach(0) >= 3 * 1024 * gibibyte)
})

segments('a temporary object says which key it is for, and foreign ones say nothing', () => {
  const name = temporaryKey('0123456789abcdef', key, 12)
  assert.is(name, '.tmp/0123456789abcdef/image-0123abcd~backing/12')
  assert.is(parseTemporaryKey(name), key)
  const foreign = ['.tmp/x', '.tmp/0123456789abcdef/a/b/1', '.tmp/0123456789abcdef/~a/1', key]
  for (const each of foreign) assert.is(parseTemporaryKey(each), undefined, each)
})

segments(
  'an object of more than its parts is joined, byte for byte, and no segment stays',
  withRig(async (rig) => {
    const { server } = rig
    const place = small(rig)
    for (const parts of [4, 4.5, 8, 8.1, 13]) {
      for (const isKnown of [false, true]) {
        const body = content(Math.floor(parts * partBytes))
        const options = isKnown ? { size: body.length } : {}
        const copies = server.count('UploadPartCopy')
        assertStored(rig, body, await putStream(place, key, source(body), options))
        const expected = Math.max(0, Math.ceil((body.length - 4 * partBytes) / (4 * partBytes)))
        assert.is(server.count('UploadPartCopy') - copies, expected)
      }
    }
    assert.equal([...server.medium.objects.keys()], [`store/${key}`])
    await assertNothingLeft(rig)
  }),
)

segments(
  'passing failures of the steps of a segment are not seen',
  withRig(async (rig) => {
    const { server } = rig
    server.on({ operation: 'UploadPartCopy', times: 1 }, refusal(503))
    server.on({ operation: 'UploadPartCopy', from: 2 }, { kind: 'lose' })
    server.on({ operation: 'CompleteMultipartUpload', times: 1 }, { kind: 'lose' })
    server.on({ operation: 'DeleteObject', times: 1 }, refusal(503))
    const body = content(15 * partBytes + 7)
    assertStored(rig, body, await putStream(small(rig), key, source(body)))
    await assertNothingLeft(rig)
  }),
)

segments(
  'whatever fails, every segment is removed, whole or not',
  withRig(async (rig) => {
    const { server } = rig
    const place = small(rig)
    const body = content(19 * partBytes)
    for (const operation of ['UploadPart', 'UploadPartCopy', 'CompleteMultipartUpload'] as const) {
      for (const count of [1, 2, 3]) {
        const from = operation === 'UploadPart' ? 4 * count + 2 : count
        const rule = server.on({ operation, from }, refusal(403))
        const error = await failure(putStream(place, key, source(body)))
        assert.ok(isImageError(error, 'permission_denied'), String(error))
        assert.is(rule.hits, 1)
        await assertNothingLeft(rig)
        assert.equal([...server.medium.objects.keys()], [])
      }
    }
    const reason = new Error('the source failed')
    const bytes = source(body, () => {
      throw reason
    })
    assert.is(await failure(putStream(place, key, bytes)), reason)
    await assertNothingLeft(rig)
    const controller = new AbortController()
    const { signal } = controller
    const stopping = source(body, () => controller.abort(reason))
    assert.is(await failure(putStream(place, key, stopping, { signal })), reason)
    await assertNothingLeft(rig)
    assert.equal([...server.medium.objects.keys()], [])
  }),
)

segments(
  'where the store copies no parts the limit is lower, is named, and is then known',
  withRig(async (rig) => {
    const { server } = rig
    const place = small(rig)
    server.on(
      { operation: 'UploadPartCopy' },
      { kind: 'refuse', status: 501, code: 'NotImplemented' },
    )
    const body = content(9 * partBytes)
    const limit = String(4 * partBytes)
    const first = await failure(putStream(place, key, source(body), { size: body.length }))
    assert.ok(isImageError(first, 'resource_exhausted'), String(first))
    assert.is(first.reason, 'too_large')
    assert.match(first.message, limit)
    await assertNothingLeft(rig)
    const requests = server.count()
    const second = await failure(putStream(place, key, source(body), { size: body.length }))
    assert.ok(isImageError(second, 'resource_exhausted'), String(second))
    assert.match(second.message, limit)
    assert.is(server.count(), requests)
    const third = await failure(putStream(place, key, source(body)))
    assert.ok(isImageError(third, 'resource_exhausted'), String(third))
    await assertNothingLeft(rig)
    assert.is(server.count('UploadPartCopy'), 1)
    const fits = content(4 * partBytes)
    assertStored(rig, fits, await putStream(place, key, source(fits), { size: fits.length }))
  }),
)

segments.run()
