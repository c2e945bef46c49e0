// One put against a store that fails on demand. Parts are small, so that few bytes make many.

import { isImageError } from '@backing-image/core'
import { setImmediate as turn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { putStream } from './multipart.ts'
import { assertNothingLeft, assertStored, content, failure, key } from './testing/putting.ts'
import { partBytes, refusal, source, withRig } from './testing/putting.ts'

const puts = suite('s3: put of many parts')

puts(
  'a body that ends with its first part is one request; more is a multipart upload',
  withRig(async (rig) => {
    const { server, place } = rig
    for (const size of [0, 1, partBytes - 1, partBytes]) {
      const body = content(size)
      assertStored(rig, body, await putStream(place, key, source(body)))
    }
    assert.is(server.count('PutObject'), 4)
    assert.is(server.count('CreateMultipartUpload'), 0)
    for (const size of [partBytes + 1, 7 * partBytes, 9 * partBytes + 5]) {
      const body = content(size)
      assertStored(rig, body, await putStream(place, key, source(body), { size }))
    }
    assert.is(server.count('PutObject'), 4)
    assert.is(server.count('UploadPart'), 2 + 7 + 10)
    await assertNothingLeft(rig)
  }),
)

puts(
  'a passing failure of any step is not seen',
  withRig(async (rig) => {
    const { server, place } = rig
    server.on({ operation: 'CreateMultipartUpload', times: 1 }, refusal(503))
    server.on({ operation: 'UploadPart', from: 2 }, refusal(500))
    server.on({ operation: 'UploadPart', from: 4 }, { kind: 'cut request', afterBytes: 30_000 })
    server.on({ operation: 'UploadPart', from: 6 }, { kind: 'lose' })
    server.on({ operation: 'CompleteMultipartUpload', times: 1 }, refusal(503))
    server.on({ operation: 'HeadObject', times: 1 }, refusal(503))
    const body = content(9 * partBytes + 1)
    assertStored(rig, body, await putStream(place, key, source(body)))
    await assertNothingLeft(rig)
  }),
)

puts(
  'the first failure is the one that is told, and nothing is left',
  withRig(async (rig) => {
    const { server, place } = rig
    await putStream(place, key, source(content(10)))
    const rule = server.on({ operation: 'UploadPart', from: 3 }, refusal(403))
    server.on({ operation: 'UploadPart' }, { kind: 'slow', bytesPerSecond: partBytes })
    const bytes = source(content(40 * partBytes))
    const error = await failure(putStream(place, key, bytes))
    assert.ok(isImageError(error, 'permission_denied'), String(error))
    assert.is(rule.hits, 1)
    assert.is(bytes.returns, 1)
    assert.ok(server.content(`store/${key}`)?.equals(content(10)), 'the old object is gone')
    assert.is(server.count('CompleteMultipartUpload'), 0)
    await assertNothingLeft(rig)
  }),
)

puts(
  'a part that fails while the source hangs ends the put',
  withRig(async (rig) => {
    const { server, place } = rig
    server.on({ operation: 'UploadPart', from: 2 }, refusal(403))
    const bytes = source(content(3 * partBytes), () => new Promise(() => undefined))
    const error = await failure(putStream(place, key, bytes))
    assert.ok(isImageError(error, 'permission_denied'), String(error))
    assert.is(bytes.returns, 1)
    await assertNothingLeft(rig)
  }),
)

puts(
  'a failing source is told as it is, whatever is in flight',
  withRig(async (rig) => {
    const { server, place } = rig
    server.on({ operation: 'UploadPart', from: 3, times: 2 }, { kind: 'stall', when: 'before' })
    for (const size of [10, partBytes, 5 * partBytes]) {
      for (const reason of [new Error('the source failed'), undefined]) {
        const bytes = source(content(size), () => {
          throw reason
        })
        assert.is(await failure(putStream(place, key, bytes)), reason)
        assert.is(bytes.returns, 0)
      }
    }
    assert.is(server.content(`store/${key}`), undefined)
    await assertNothingLeft(rig)
  }),
)

puts(
  'an abort rejects at once and really stops the parts in flight',
  withRig(async (rig) => {
    const { server, place } = rig
    const controller = new AbortController()
    const { signal } = controller
    const stalled = server.on({ operation: 'UploadPart' }, { kind: 'stall', when: 'before' })
    const aborting = server.on(
      { operation: 'AbortMultipartUpload', times: 1 },
      { kind: 'stall', when: 'before' },
    )
    const bytes = source(content(40 * partBytes))
    const put = failure(putStream(place, key, bytes, { signal }))
    while (server.open('UploadPart').length < 4) await turn()
    const reason = new Error('stop')
    controller.abort(reason)
    // The store has not even answered the abort of the upload.
    assert.is(await put, reason)
    assert.is(aborting.hits === 0 || server.open('AbortMultipartUpload').length === 1, true)
    assert.is(bytes.returns, 1)
    while (aborting.hits === 0) await turn()
    aborting.lift()
    await Promise.all(place.tidying)
    assert.is(stalled.hits, 4)
    assert.equal([...new Set(server.seen.filter(isPart).map(({ end }) => end))], ['left'])
    await assertNothingLeft(rig)
  }),
)

puts(
  'an abort stops a body of one part, too',
  withRig(async (rig) => {
    const { server, place } = rig
    const controller = new AbortController()
    const rule = server.on({ operation: 'PutObject' }, { kind: 'stall', when: 'before' })
    const put = failure(putStream(place, key, source(content(10)), { signal: controller.signal }))
    while (rule.hits === 0) await turn()
    const reason = new Error('stop')
    controller.abort(reason)
    assert.is(await put, reason)
    while (server.open().length > 0) await turn()
    assert.is(server.content(`store/${key}`), undefined)
  }),
)

puts(
  'an abort while the upload is begun leaves no upload',
  withRig(async (rig) => {
    const { server, place } = rig
    const controller = new AbortController()
    const rule = server.on({ operation: 'CreateMultipartUpload' }, { kind: 'stall', when: 'after' })
    const bytes = source(content(2 * partBytes))
    const put = failure(putStream(place, key, bytes, { signal: controller.signal }))
    while (server.medium.uploads.size === 0) await turn()
    controller.abort()
    assert.is(await put, controller.signal.reason)
    rule.lift()
    await assertNothingLeft(rig)
    assert.is(server.count('UploadPart'), 0)
  }),
)

puts(
  'an upload that a late part brings back is aborted again',
  withRig(
    async (rig) => {
      const { server, place } = rig
      const fails = server.on({ operation: 'UploadPart', from: 3 }, refusal(403))
      let late: string | undefined
      server.on(
        {
          operation: 'ListParts',
          when: ({ query }) => {
            // A part that was in flight ends between the abort and the look.
            const id = query.get('uploadId') ?? ''
            if (late === undefined) server.medium.putPart(`store/${key}`, id, 1, content(partBytes))
            late = id
            return false
          },
        },
        refusal(500),
      )
      await failure(putStream(place, key, source(content(9 * partBytes))))
      assert.is(fails.hits, 1)
      assert.ok(late)
      assert.ok(server.count('AbortMultipartUpload') >= 2)
      await assertNothingLeft(rig)
    },
    { revives: true },
  ),
)

puts(
  'more than the store can hold is refused before the first byte',
  withRig(async (rig) => {
    const { server, place } = rig
    const unread: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]() {
        throw new Error('the source was read')
      },
    }
    const put = putStream({ ...place, plan: {} }, key, unread, { size: 2 ** 43 })
    const error = await failure(put)
    assert.ok(isImageError(error, 'resource_exhausted'), String(error))
    assert.is(error.reason, 'too_large')
    assert.match(error.message, String(5 * 2 ** 40))
    assert.is(server.count(), 0)
  }),
)

puts(
  'eight puts at once are stored whole, out of a budget that holds less than one of them',
  withRig(async ({ server, place }) => {
    const bodies = Array.from({ length: 8 }, (_, index) =>
      content((12 + index) * partBytes + index),
    )
    let peakBytes = 0
    server.on(
      {
        operation: 'UploadPart',
        when: () => {
          peakBytes = Math.max(peakBytes, place.budget.usedBytes)
          return false
        },
      },
      refusal(500),
    )
    await Promise.all(
      bodies.map((body, index) => putStream(place, `${index}/backing`, source(body))),
    )
    for (const [index, body] of bodies.entries()) {
      assert.ok(server.content(`store/${index}/backing`)?.equals(body))
    }
    assert.ok(peakBytes <= 8 * partBytes, `${peakBytes} bytes were in use`)
  }),
)

function isPart({ operation }: { operation: string }): boolean {
  return operation === 'UploadPart'
}

puts.run()
