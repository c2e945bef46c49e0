// Uploads that race on two servers: each label is won once, and the loser leaves nothing.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parseMarkKey } from './layout.ts'
import type { ImageStore } from './store.ts'
import {
  type Town,
  disk,
  failure,
  inTown,
  keysOf,
  latch,
  put,
  randomFrom,
  request,
  streamOf,
} from './testing/rig.ts'

const racing = suite('store: race')

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

racing(
  'of uploads that race for one version with different bytes exactly one is created',
  async () => {
    const firstSeed = Date.now() % 1_000_000
    await inTown(async (town) => {
      await raced(town, firstSeed, async (stores) => {
        for (let round = 0; round < 20; round++) {
          const name = `race-${round}`
          const results = await Promise.allSettled(
            stores.map((store, index) =>
              store.ingest(request(name, { version: 'v1' }), () =>
                streamOf(disk(round * 2 + index, 1024)),
              ),
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

racing(
  'of uploads that race for a new name exactly one is created, however close they are',
  inTown(async (town) => {
    const servers = await Promise.all([town.open(), town.open()])
    const bothPublish = latch()
    const looked = [latch(), latch()]
    const firstClaimed = latch()
    let publishing = 0
    for (const [index, { backend }] of servers.entries()) {
      let isAfterLook = false
      backend.before = async (verb, key) => {
        if (isAfterLook) {
          // Both have found that nothing is in flight; then the second sees the claim of the first.
          isAfterLook = false
          looked[index]?.open()
          await (index === 0 ? looked[1]?.opened : firstClaimed.opened)
        }
        isAfterLook = verb === 'list' && key === '.jobs/'
        if (index === 0 && verb === 'list' && key.startsWith('jammy-')) firstClaimed.open()
        if (verb !== 'put' || !key.startsWith('.catalog/')) return
        if (++publishing === 2) bothPublish.open()
        await bothPublish.opened
      }
    }
    const results = await Promise.allSettled(
      servers.map(({ store }, index) =>
        store.ingest(request('jammy', { mustBeNew: true }), () => streamOf(disk(index))),
      ),
    )
    const lost = results.filter((each) => each.status === 'rejected')
    assert.is(lost.length, 1)
    const error = await failure(Promise.reject(lost[0]?.reason as Error))
    assert.is(error.reason, 'precondition_failed')
    assert.is(town.unmarked().length, 4)
  }),
)

racing('uploads that race without a version all get one of their own', async () => {
  const seed = Date.now() % 1_000_000
  await inTown(async (town) => {
    await raced(town, seed, async (stores) => {
      const uploads = Array.from({ length: 5 }, (_, index) =>
        stores.map((store, which) => put(store, 'jammy', index * 2 + which)),
      )
      const images = await Promise.all(uploads.flat())
      const versions = images.map((image) => Number(image.version)).toSorted((a, b) => a - b)
      assert.is(new Set(versions).size, 10)
      assert.is(versions[0], 1)
      assert.is(town.unmarked().length, 40)
      const listed = await stores[0]?.versions('jammy')
      assert.equal(
        listed?.map((image) => image.uuid).toSorted(),
        images.map((image) => image.uuid).toSorted(),
      )
    })
  })()
})

racing.run()
