// A delete that meets work at its end, whose content is there already under another name: what it was
// told to delete is not there afterwards, whichever step of the publisher it meets.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Step } from './publish.ts'
import { disk, failure, inTown, latch, put, request, streamOf } from './testing/rig.ts'

const cancelling = suite('store: delete and publish')

const steps: Step[] = [
  'bytes stored',
  'config stored',
  'record created',
  'record read back',
  'marks looked for',
  'published',
]

for (const step of steps) {
  cancelling(
    `a publisher that stands at "${step}" while it is deleted leaves nothing`,
    inTown(async (town) => {
      const other = await town.open()
      const kept = await put(other.store, 'noble', 1)
      const [reached, go] = [latch(), latch()]
      const { store } = await town.open({
        at: async (each) => {
          if (each !== step) return
          reached.open()
          await go.opened
        },
      })
      const ended = store.ingest(request('jammy'), () => streamOf(disk(1))).catch(() => {})
      await reached.opened
      await other.store.remove('jammy')
      go.open()
      await ended
      assert.is((await failure(other.store.get('jammy'))).code, 'not_found')
      await other.store.sweep()
      assert.equal(town.keys('.catalog/'), [`.catalog/noble/${kept.version}.json`])
      assert.equal(
        town.unmarked().filter((key) => key.startsWith('jammy-')),
        [],
      )
      assert.is((await other.store.get('noble')).state, 'ready')
    }),
  )
}

cancelling(
  'what is published between the two looks of a delete is deleted, too',
  inTown(async (town) => {
    const first = await town.open()
    await put(first.store, 'noble', 1)
    const [stored, publish, listed, go] = [latch(), latch(), latch(), latch()]
    const publisher = await town.open({
      at: async (each) => {
        if (each !== 'config stored') return
        stored.open()
        await publish.opened
      },
    })
    const remover = await town.open({
      at: async (each) => {
        if (each !== 'records removed') return
        listed.open()
        await go.opened
      },
    })
    const created = latch()
    const ended = publisher.store.ingest(request('jammy'), () => streamOf(disk(1))).catch(() => {})
    await stored.opened
    const removed = remover.store.remove('jammy')
    await listed.opened
    publisher.backend.before = (verb, key) => {
      // Its record is visible by the next verb.
      if (verb === 'get' && key.startsWith('.catalog/jammy/')) created.open()
    }
    publish.open()
    await Promise.race([created.opened, ended])
    go.open()
    await Promise.all([removed, ended])
    assert.is((await failure(first.store.get('jammy'))).code, 'not_found')
  }),
)

cancelling.run()
