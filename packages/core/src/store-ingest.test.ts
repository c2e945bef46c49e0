// What comes in is published whole, under the right version, exactly once; and nothing that can be
// refused early is read.

import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import type { Ingested } from './request.ts'
import { bytesKey, configKey, recordKey } from './layout.ts'
import { parseRecord } from './record.ts'
import type { ImageStore } from './store.ts'
import { qcow2Image } from './testing/images.ts'
import { disk, failure, inTown, keysOf, latch, request, streamOf } from './testing/rig.ts'

const ingest = suite('store: ingest')

function sha512(body: Uint8Array): string {
  return createHash('sha512').update(body).digest('hex')
}

/** Takes `body` in; it must be new. */
async function put(store: ImageStore, body: Uint8Array, version?: string): Promise<Ingested> {
  const ingested = await store.ingest(
    request('jammy', version === undefined ? {} : { version }),
    () => streamOf(body),
  )
  assert.is(ingested.created, true)
  return ingested
}

function neverOpened(): never {
  throw new Error('the body was opened')
}

ingest(
  'an image is its bytes, the record of Longhorn, the block index and the version record',
  inTown(async (town) => {
    const { store, problems } = await town.open()
    const body = disk(1, 3_000_000)
    const digest = sha512(body)
    const { image, created } = await store.ingest(
      request('jammy', { size: body.length, expected: [`sha512:${digest}`] }),
      () => streamOf(body, 70_000),
    )
    assert.is(created, true)
    const { uuid } = image
    assert.equal(town.keys(), keysOf(image).toSorted())
    assert.ok(
      Buffer.from(town.medium.objects.get(bytesKey('jammy', uuid))?.body ?? []).equals(body),
    )
    const config = JSON.parse(town.text(configKey('jammy', uuid))) as Record<string, unknown>
    assert.is(config['name'], `/data/backing-images/jammy-${uuid}/backing`)
    assert.equal(
      [config['uuid'], config['size'], config['currentChecksum'], config['expectedChecksum']],
      [uuid, body.length, digest, digest],
    )
    const key = recordKey('jammy', '1')
    const record = parseRecord(key, town.text(key))
    assert.equal(
      [record.sequence, record.size, record.format, record.keys, record.checksums.sha512],
      [1, body.length, 'raw', [bytesKey('jammy', uuid)], digest],
    )
    assert.equal(
      [image.state, image.progress, image.version, image.currentChecksum, image.expectedChecksum],
      ['ready', 100, '1', digest, digest],
    )
    assert.is(town.medium.unfinished.size, 0)
    assert.equal(problems, [])
  }),
)

ingest(
  'the facts of a qcow2 are found while it passes',
  inTown(async (town) => {
    const { store } = await town.open()
    const body = qcow2Image()
    const { image } = await put(store, body)
    assert.is(image.format, 'qcow2')
    assert.ok(image.virtualSize > 0 && image.virtualSize !== body.length)
    assert.is(image.size, body.length)
    assert.is(image.checksums.sha256, createHash('sha256').update(body).digest('hex'))
  }),
)

ingest(
  'an image without a version gets one more than the highest number',
  inTown(async (town) => {
    const { store } = await town.open()
    const given = [undefined, undefined, '7', 'v99', '010', undefined, '3', undefined]
    const versions = []
    for (const [index, version] of given.entries()) {
      versions.push((await put(store, disk(index), version)).image.version)
    }
    assert.equal(versions, ['1', '2', '7', 'v99', '010', '8', '3', '9'])
    const newest = await store.get('jammy')
    assert.is(newest.version, '9')
  }),
)

ingest(
  'work in flight and failed work count for the next version',
  inTown(async (town) => {
    const { store } = await town.open()
    const broken = await store
      .ingest(request('jammy'), () => streamOf(Buffer.from('<html>not an image</html>')))
      .catch((error: unknown) => error)
    assert.ok(broken instanceof Error)
    const { opened, open } = latch()
    const slow = store.ingest(request('jammy'), async () => {
      await opened
      return streamOf(disk(1))
    })
    await pause(5)
    assert.is((await put(store, disk(2))).image.version, '3')
    open()
    assert.is((await slow).image.version, '2')
    assert.is((await store.get('jammy')).version, '2', 'it was published later')
  }),
)

ingest(
  'a number that is too long asks for a version',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, disk(), '999999999999999')
    const error = await failure(store.ingest(request('jammy'), neverOpened))
    assert.is(error.reason, 'invalid_request')
    assert.is(town.keys('.jobs/').length, 0)
  }),
)

ingest(
  'a given version that is there with another digest or size is refused before the body is opened',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await put(store, disk(), 'v1')
    const before = town.keys()
    const other = '0'.repeat(128)
    for (const differs of [
      { expected: [`sha512:${other}`] },
      { expected: [`sha256:${other.slice(64)}`] },
      { size: image.size + 1 },
      { expected: [`md5:${other.slice(96)}`], size: image.size - 1 },
    ]) {
      const asked = request('jammy', { version: 'v1', ...differs })
      const error = await failure(store.ingest(asked, neverOpened))
      assert.equal([error.code, error.reason], ['already_exists', 'already_exists'])
      assert.is(error.expected, `sha512:${image.currentChecksum}`)
    }
    assert.equal(town.keys(), before)
  }),
)

ingest(
  'the same digest under the same version is the image that is there, unread',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await put(store, disk(), 'v1')
    const before = town.keys()
    for (const [algorithm, hex] of Object.entries(image.checksums)) {
      const asked = request('jammy', { version: 'v1', expected: [`${algorithm}:${hex}`] })
      assert.equal(await store.ingest(asked, neverOpened), { image, created: false })
    }
    assert.equal(town.keys(), before)
  }),
)

ingest(
  'the same bytes without a digest are read, known and leave nothing',
  inTown(async (town) => {
    const { store } = await town.open()
    const body = disk(1, 2_000_000)
    const { image } = await put(store, body, 'v1')
    const before = town.keys()
    for (const size of [undefined, body.length]) {
      let read = 0
      const again = await store.ingest(
        request('jammy', { version: 'v1', ...(size === undefined ? {} : { size }) }),
        async function* () {
          for await (const chunk of streamOf(body, 100_000)) {
            read += chunk.length
            yield chunk
          }
        },
      )
      assert.equal(again, { image, created: false })
      assert.is(read, body.length)
      assert.equal(town.keys(), before)
    }
  }),
)

ingest(
  'other bytes of the same size under a version that is there leave nothing',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await put(store, disk(1), 'v1')
    const before = town.keys()
    const asked = request('jammy', { version: 'v1', size: image.size })
    const error = await failure(store.ingest(asked, () => streamOf(disk(2))))
    assert.is(error.code, 'already_exists')
    assert.equal(town.keys(), before)
    assert.is((await store.get('jammy')).currentChecksum, image.currentChecksum)
  }),
)

ingest(
  'a version whose bytes are gone is there again once the same bytes were sent',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await put(store, disk(1), 'v1')
    town.medium.remove(bytesKey('jammy', image.uuid))
    const asked = request('jammy', { version: 'v1', expected: [`sha512:${image.currentChecksum}`] })
    const again = await store.ingest(asked, () => streamOf(disk(1)))
    assert.equal(again, { image, created: false })
    const opened = await store.open('jammy', { version: 'v1' })
    assert.ok((await readAll(await opened.read())).equals(disk(1)))
  }),
)

ingest(
  'an image that must be new is refused when the name exists, or is on its way',
  inTown(async (town) => {
    const { store } = await town.open()
    const mustBeNew = true
    const first = await store.ingest(request('jammy', { mustBeNew }), () => streamOf(disk(1)))
    assert.is(first.created, true)
    const error = await failure(store.ingest(request('jammy', { mustBeNew }), neverOpened))
    assert.is(error.reason, 'precondition_failed')
    const { opened, open } = latch()
    const slow = store.ingest(request('noble'), async () => {
      await opened
      return streamOf(disk(1))
    })
    await pause(5)
    const early = await failure(store.ingest(request('noble', { mustBeNew }), neverOpened))
    assert.is(early.reason, 'precondition_failed')
    open()
    await slow
  }),
)

ingest.run()
