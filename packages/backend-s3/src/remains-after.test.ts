// Puts that go on with an upload which another process has left, at a store that fails on demand.

import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { putStream } from './multipart.ts'
import type { Fault } from './testing/index.ts'
import { body, found, goOn, plant } from './testing/planting.ts'
import { assertNothingLeft, assertStored, content, failure, key } from './testing/putting.ts'
import { partBytes, refusal, source, withRig } from './testing/putting.ts'

const after = suite('s3: puts that go on')

after(
  'only the rest is sent, by the next numbers',
  withRig(
    async (rig) => {
      const { server } = rig
      plant(rig, [partBytes, partBytes, partBytes])
      const left = await found(rig)
      const told: number[] = []
      const onDurable = (bytes: number): unknown => told.push(bytes)
      assertStored(rig, body, await goOn(rig, left, { size: body.length, onDurable }))
      const sent = server.seen.filter(({ operation }) => operation === 'UploadPart')
      assert.equal(
        sent.map(({ query }) => Number(query.get('partNumber'))).toSorted((a, b) => a - b),
        [4, 5, 6, 7, 8, 9, 10],
      )
      assert.ok(told.every((bytes) => bytes > left.offset))
      assert.is(told.at(-1), 9 * partBytes)
      assert.is(server.count('CreateMultipartUpload'), 0)
      await assertNothingLeft(rig)
    },
    { pageMax: 2 },
  ),
)

const unclear: Record<string, Fault> = {
  'that was done, and answered 500': { kind: 'deny', status: 500, code: 'InternalError' },
  'that was done, and whose answer was lost': { kind: 'lose' },
  'that was not done, and answered 503': { kind: 'refuse', status: 503, code: 'SlowDown' },
}

for (const [what, fault] of Object.entries(unclear)) {
  after(
    `a Complete ${what}, of an upload of another, is a success by the size of the object`,
    withRig(async (rig) => {
      await putStream(rig.place, key, source(content(3 * partBytes)))
      plant(rig)
      const left = await found(rig)
      rig.server.on({ operation: 'CompleteMultipartUpload', times: 1 }, fault)
      assertStored(rig, body, await goOn(rig, left))
      await assertNothingLeft(rig)
    }),
  )
}

after(
  'what is gone is aborted: before a byte is read, at a part, and at the end',
  withRig(async (rig) => {
    const { server, place } = rig
    const gone = async (bytes = source(body.subarray(2 * partBytes))): Promise<void> => {
      const error = await failure(putStream(place, key, bytes, { after: left }))
      assert.ok(isImageError(error, 'aborted'), String(error))
      assert.is(error.reason, 'storage_unavailable')
      assert.match(error.message, 'Begin anew')
      await assertNothingLeft(rig)
    }
    plant(rig)
    let left = await found(rig)
    server.medium.uploads.clear()
    let isRead = false
    const unread = {
      returns: 0,
      [Symbol.asyncIterator]: () => {
        isRead = true
        return source(body)[Symbol.asyncIterator]()
      },
    }
    await gone(unread)
    assert.is(isRead, false)
    for (const other of [key, `${key}?upload=`, `other/x?upload=${left.id.split('=')[1]}`]) {
      left = { ...left, id: other }
      await gone(unread)
    }
    for (const operation of ['UploadPart', 'CompleteMultipartUpload'] as const) {
      plant(rig)
      left = await found(rig)
      const vanish = (): boolean => {
        server.medium.uploads.clear()
        return false
      }
      const rule = server.on({ operation, when: vanish }, refusal(500))
      await gone()
      rule.lift()
    }
    // Fewer parts than there were, or half of one.
    plant(rig)
    left = { ...(await found(rig)), offset: 3 * partBytes }
    await failure(putStream(place, key, unread, { after: left }))
    left = { ...left, offset: partBytes + 1 }
    const error = await failure(putStream(place, key, unread, { after: left }))
    assert.ok(isImageError(error, 'aborted'), String(error))
    assert.is(isRead, false)
    assert.is(server.medium.uploads.size, 1)
  }),
)

after(
  'a predecessor that wakes stores the same parts, or ends it for both',
  withRig(async (rig) => {
    const { server, place } = rig
    const wake = (): void => {
      const [upload] = server.medium.uploads.values()
      for (const number of [1, 3, 4]) {
        const part = body.subarray((number - 1) * partBytes, number * partBytes)
        server.medium.putPart(upload?.key ?? '', upload?.uploadId ?? '', number, part)
      }
    }
    plant(rig)
    const left = await found(rig)
    assertStored(
      rig,
      body,
      await putStream(place, key, source(body.subarray(left.offset), wake), { after: left }),
    )
    await assertNothingLeft(rig)
    const { uploadId } = plant(rig)
    const end = (): void => server.medium.abort(`store/${key}`, uploadId)
    const next = await found(rig)
    const bytes = source(body.subarray(next.offset), end)
    const error = await failure(putStream(place, key, bytes, { after: next }))
    assert.ok(isImageError(error, 'aborted'), String(error))
    await assertNothingLeft(rig)
  }),
)

after(
  'parts keep the size that they have, whatever the whole would have had',
  withRig(
    async (rig) => {
      const { server, place } = rig
      delete place.plan
      const largeBytes = 16 * 1024 * 1024
      const whole = content(2 * largeBytes + 5)
      const { key: at, uploadId } = server.medium.begin(`store/${key}`, {})
      server.medium.putPart(at, uploadId, 1, whole.subarray(0, largeBytes))
      const left = await found(rig)
      assert.is(left.offset, largeBytes)
      const bytes = source(whole.subarray(largeBytes))
      const options = { after: left, size: whole.length }
      assertStored(rig, whole, await putStream(place, key, bytes, options))
      assert.is(server.count('UploadPart'), 2)
    },
    { partMinBytes: 5 * 1024 * 1024 },
  ),
)

const passing: Fault[] = [
  { kind: 'refuse', status: 500, code: 'InternalError' },
  { kind: 'deny', status: 500, code: 'InternalError' },
  { kind: 'lose' },
  { kind: 'cut request', afterBytes: 1_000 },
  { kind: 'cut answer', afterBytes: 50 },
]
const lasting: Fault[] = [
  { kind: 'refuse', status: 403, code: 'AccessDenied' },
  { kind: 'refuse', status: 404, code: 'NoSuchUpload' },
]

after(
  'any request may fail: a passing failure is not seen, another leaves nothing in part',
  withRig(async (rig) => {
    const { server } = rig
    let count = 0
    for (const fault of [...passing, ...lasting]) {
      for (let from = 1; ; from += 1) {
        plant(rig)
        const left = await found(rig)
        const rule = server.on({ from, times: lasting.includes(fault) ? Infinity : 1 }, fault)
        const error = await goOn(rig, left).catch((thrown: unknown) => thrown)
        const isMet = rule.hits > 0
        rule.lift()
        await Promise.all(rig.place.tidying)
        const what = `request ${from} meets ${JSON.stringify(fault)}: ${String(error)}`
        const stored = server.content(`store/${key}`)
        assert.ok(!stored || stored.equals(body), what)
        const isFine = !(error instanceof Error)
        if (isFine) assert.ok(stored, what)
        else assert.ok(isImageError(error), what)
        assert.ok(isFine || lasting.includes(fault), what)
        server.medium.objects.clear()
        server.medium.uploads.clear()
        if (!isMet) break
        count += 1
      }
    }
    assert.ok(count > 40, `only ${count} requests were tried`)
  }),
)

after.run()
