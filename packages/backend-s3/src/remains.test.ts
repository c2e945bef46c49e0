// What an upload has left at a store that fails on demand: what of it is durable, which upload is gone on
// with, and what is left by whom.

import { CreateMultipartUploadCommand } from '@aws-sdk/client-s3'
import { type PutOptions, isImageError } from '@backing-image/core'
import { setImmediate as turn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { putStream } from './multipart.ts'
import { remainsOf } from './remains.ts'
import { body, found, goOn, plant } from './testing/planting.ts'
import { assertNothingLeft, assertStored, content, failure, key } from './testing/putting.ts'
import { partBytes, refusal, source, withRig } from './testing/putting.ts'
import type { Seen } from './testing/request.ts'
import { discard } from './unfinished.ts'

const remains = suite('s3: what uploads leave')
const keep: PutOptions = { keep: () => true }

remains(
  'durable is what no part before is missing of, and parts of one size',
  withRig(async (rig) => {
    const { server, place } = rig
    const told: number[] = []
    const stalled = server.on(
      { operation: 'UploadPart', when: ({ query }) => query.get('partNumber') === '2' },
      { kind: 'stall', when: 'before' },
    )
    const options = { onDurable: (bytes: number) => told.push(bytes) }
    const put = putStream(place, key, source(body), options)
    const stored = (): number => [...server.medium.uploads.values()][0]?.parts.size ?? 0
    // One waits, and so much memory as it does not hold goes round.
    while (stored() < 4) await turn()
    assert.equal(told, [partBytes])
    stalled.lift()
    assertStored(rig, body, await put)
    assert.ok(told.includes(9 * partBytes), told.join(', '))
    assert.equal(
      told,
      [...new Set(told)].toSorted((one, other) => one - other),
    )
    assert.ok(told.every((bytes) => bytes % partBytes === 0 && bytes < body.length))
    await assertNothingLeft(rig)
  }),
)

remains(
  'the parts under way are stored before a put that is kept has failed',
  withRig(async (rig) => {
    const { server, place } = rig
    const rule = server.on({ operation: 'UploadPart' }, { kind: 'stall', when: 'before' })
    const error = new Error('cut')
    const told: number[] = []
    const bytes = source(body.subarray(0, 3 * partBytes), () => {
      throw error
    })
    const onDurable = (durableBytes: number): unknown => told.push(durableBytes)
    const put = failure(putStream(place, key, bytes, { ...keep, onDurable }))
    while (server.open('UploadPart').length < 3) await turn()
    assert.equal(told, [])
    rule.lift()
    assert.is(await put, error)
    assert.is(told.at(-1), 3 * partBytes)
    assert.equal(await found(rig), { id: (await found(rig)).id, offset: 3 * partBytes })
    assertStored(rig, body, await goOn(rig, await found(rig)))
  }),
)

remains(
  'who aborts while parts hang is left at once, and what was stored stays',
  withRig(async (rig) => {
    const { server, place } = rig
    const hang = (): void => {
      const isThird = ({ query }: Seen): boolean => query.get('partNumber') === '3'
      server.on({ operation: 'UploadPart', when: isThird }, { kind: 'stall', when: 'before' })
    }
    for (const isFailing of [false, true]) {
      hang()
      const controller = new AbortController()
      const { signal } = controller
      const error = new Error('cut')
      const asked: unknown[] = []
      const told: number[] = []
      const bytes = source(body.subarray(0, 4 * partBytes), async () => {
        if (isFailing) throw error
        await new Promise(() => {})
      })
      const options: PutOptions = {
        signal,
        keep: (reason) => asked.push(reason) > 0,
        onDurable: (durableBytes) => told.push(durableBytes),
      }
      const put = failure(putStream(place, key, bytes, options))
      const isReady = (): boolean =>
        told.at(-1) === 2 * partBytes &&
        server.open('UploadPart').length > 0 &&
        asked.length === (isFailing ? 1 : 0)
      while (!isReady()) await turn()
      controller.abort(new Error('stop'))
      const expected = isFailing ? error : signal.reason
      assert.is(await put, expected)
      assert.equal(asked, [expected])
      await Promise.all(place.tidying)
      assert.is((await found(rig)).offset, 2 * partBytes)
      await discard(rig.bucket, (await found(rig)).id)
      server.calm()
    }
    await assertNothingLeft(rig)
  }),
)

remains(
  'of a put whose part was refused the parts before stay, and nothing without keep',
  withRig(async (rig) => {
    const { server, place } = rig
    for (const options of [keep, {}, { keep: () => false }]) {
      const isFourth = { operation: 'UploadPart', from: 4 } as const
      const rule = server.on(isFourth, refusal(403))
      const error = await failure(putStream(place, key, source(body), options))
      assert.ok(isImageError(error, 'permission_denied'), String(error))
      rule.lift()
      await Promise.all(place.tidying)
      if (options === keep) {
        const left = await found(rig)
        assert.ok(left.offset <= 3 * partBytes)
        await discard(rig.bucket, left.id)
      }
      await assertNothingLeft(rig)
    }
  }),
)

remains(
  'whole parts count, over any number of pages, up to the first that is missing or of another size',
  withRig(
    async (rig) => {
      const { server } = rig
      const upload = plant(rig, [...Array.from({ length: 7 }, () => partBytes), 9])
      assert.is((await found(rig)).offset, 7 * partBytes)
      upload.parts.delete(4)
      assert.is((await found(rig)).offset, 3 * partBytes)
      assert.is(await remainsOf(rig.place, key, 3 * partBytes + 1), undefined)
      upload.parts.delete(1)
      assert.is(await remainsOf(rig.place, key, 1), undefined)
      server.medium.uploads.clear()
      for (const size of [partBytes - 1, partBytes + 1, 2 * partBytes]) {
        plant(rig, [size, size])
        assert.is(await remainsOf(rig.place, key, 1), undefined, `parts of ${size}`)
        server.medium.uploads.clear()
      }
      plant(rig, [])
      assert.is(await remainsOf(rig.place, key, 1), undefined)
    },
    { pageMax: 2 },
  ),
)

remains(
  'what has come to its segments is nothing to go on from',
  withRig(async (rig) => {
    const { place } = rig
    place.plan = { partBytes, partsMax: 2 }
    plant(rig)
    assert.is(await remainsOf(place, key, 1), undefined)
    rig.server.medium.uploads.clear()
    const bytes = source(body, () => {
      throw new Error('cut')
    })
    await failure(putStream(place, key, bytes, keep))
    await assertNothingLeft(rig)
    // But who goes on may come to them.
    plant(rig, [partBytes])
    assertStored(rig, body, await goOn(rig, await found(rig)))
    await assertNothingLeft(rig)
  }),
)

remains(
  'of several uploads the newest counts that holds so much, and none of another key',
  withRig(
    async (rig) => {
      const { bucket, server } = rig
      const many = plant(rig, [partBytes, partBytes, partBytes])
      const few = plant(rig, [partBytes])
      const none = plant(rig, [])
      for (const [index, upload] of [many, few, none].entries()) upload.initiatedMs = 1000 * index
      for (const name of [`store/${key}.cfg`, `store/${key}/x`, `else/${key}`]) {
        const command = new CreateMultipartUploadCommand({ Bucket: bucket.name, Key: name })
        await bucket.send(command, { what: 'prepare a test' })
      }
      for (const upload of server.medium.uploads.values()) {
        if (upload.key === `store/${key}`) continue
        server.medium.putPart(upload.key, upload.uploadId, 1, content(partBytes))
      }
      assert.match((await found(rig, 1)).id, few.uploadId)
      assert.match((await found(rig, partBytes + 1)).id, many.uploadId)
      assert.is((await found(rig, partBytes + 1)).offset, 3 * partBytes)
      assert.is(await remainsOf(rig.place, key, 3 * partBytes + 1), undefined)
      assert.is(await remainsOf(rig.place, key, 0), undefined)
    },
    { pageMax: 2 },
  ),
)

remains(
  'a store that lists neither uploads nor parts has no remains; a refused key is told',
  withRig(async (rig) => {
    plant(rig)
    for (const operation of ['ListMultipartUploads', 'ListParts'] as const) {
      for (const status of [501, 405]) {
        const fault = { kind: 'refuse', status, code: 'NotImplemented' } as const
        const rule = rig.server.on({ operation }, fault)
        assert.is(await remainsOf(rig.place, key, 1), undefined)
        rule.lift()
      }
      const rule = rig.server.on({ operation }, refusal(403))
      const error = await failure(remainsOf(rig.place, key, 1))
      assert.ok(isImageError(error, 'permission_denied'), String(error))
      rule.lift()
    }
    await found(rig)
  }),
)

remains.run()
