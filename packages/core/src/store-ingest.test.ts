// What comes in is published whole, under the right version, exactly once; and nothing that can be
// refused early is read.

import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { type Ingested } from './ingest.ts'
import { bytesKey, configKey, parseMarkKey, recordKey } from './layout.ts'
import { parseRecord } from './record.ts'
import type { ImageStore } from './store.ts'
import {
  type Town,
  disk,
  failure,
  inTown,
  keysOf,
  latch,
  randomFrom,
  request,
  streamOf,
} from './testing/rig.ts'
import { qcow2Image } from './testing/images.ts'

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
  'an image is its bytes, the record of Longhorn and the version record, and nothing else',
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
  'a version whose bytes are gone is not there: it can be sent again',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await put(store, disk(1), 'v1')
    town.medium.remove(bytesKey('jammy', image.uuid))
    const asked = request('jammy', { version: 'v1', expected: [`sha512:${image.currentChecksum}`] })
    const again = await store.ingest(asked, () => streamOf(disk(1)))
    assert.is(again.created, true)
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

/** Delays every verb of every server by up to 3 ms, by a seed that is printed when it fails. */
async function raced(
  town: Town,
  seed: number,
  race: (stores: ImageStore[]) => Promise<void>,
): Promise<void> {
  const random = randomFrom(seed)
  const servers = await Promise.all([town.open(), town.open()])
  for (const { backend } of servers) {
    backend.before = async () => {
      const delayMs = random() * 3
      if (delayMs > 1) await pause(delayMs)
    }
  }
  try {
    await race(servers.map(({ store }) => store))
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}`, { cause: error })
  }
}

/** Whether each mark is for other bytes than these. */
function marksAreNotOf(town: Town, uuid: string): boolean {
  return town.keys('.marks/').every((key) => parseMarkKey(key)?.uuid !== uuid)
}

ingest(
  'of uploads that race for one version with different bytes exactly one is created',
  async () => {
    const firstSeed = Date.now() % 1_000_000
    await inTown(async (town) => {
      await raced(town, firstSeed, async (stores) => {
        for (let round = 0; round < 20; round++) {
          const name = `race-${round}`
          const results = await Promise.allSettled(
            stores.map((store, index) =>
              store.ingest(request(name, { version: 'v1' }), () => streamOf(disk(index, 1024))),
            ),
          )
          const won = results.filter((each) => each.status === 'fulfilled')
          const lost = results.filter((each) => each.status === 'rejected')
          assert.equal([won.length, lost.length], [1, 1], name)
          assert.is(
            (await failure(Promise.reject(lost[0]?.reason as Error))).code,
            'already_exists',
          )
          const image = won[0]?.value.image
          assert.ok(image && won[0]?.value.created)
          const left = town.unmarked().filter((key) => key.includes(name))
          assert.equal(left, keysOf(image).toSorted(), 'nothing is left of the other')
          assert.ok(marksAreNotOf(town, image.uuid))
        }
      })
    })()
  },
)

ingest('of uploads that race for a new name exactly one is created', async () => {
  const seed = Date.now() % 1_000_000
  await inTown(async (town) => {
    await raced(town, seed, async (stores) => {
      for (let round = 0; round < 20; round++) {
        const name = `new-${round}`
        const results = await Promise.allSettled(
          stores.map(async (store, index) => {
            await pause(index * round)
            return await store.ingest(request(name, { mustBeNew: true }), () =>
              streamOf(disk(index, 1024)),
            )
          }),
        )
        const won = results.filter((each) => each.status === 'fulfilled')
        assert.is(won.length, 1, name)
        const left = town.unmarked().filter((key) => key.includes(name))
        assert.is(left.length, 3)
      }
    })
  })()
})

ingest('uploads that race without a version all get one of their own', async () => {
  const seed = Date.now() % 1_000_000
  await inTown(async (town) => {
    await raced(town, seed, async (stores) => {
      const results = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          stores[index % 2]?.ingest(request('jammy'), () => streamOf(disk(index, 1024))),
        ),
      )
      const images = results.map((each) => each?.image)
      const versions = images.map((image) => Number(image?.version)).toSorted((a, b) => a - b)
      assert.is(new Set(versions).size, 10)
      assert.is(versions[0], 1)
      assert.is(town.unmarked().length, 30)
      const listed = await stores[0]?.versions('jammy')
      assert.equal(
        new Set(listed?.map((image) => image.uuid)),
        new Set(images.map((image) => image?.uuid)),
      )
    })
  })()
})

ingest.run()
