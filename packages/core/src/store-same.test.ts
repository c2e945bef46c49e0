// The same bytes once more under a version that is there, or seems to be.

import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { catalogPrefix, marksPrefix } from './layout.ts'
import { disk, failure, inTown, latch, request, streamOf } from './testing/rig.ts'

const same = suite('store: the same bytes')

same(
  'a record that its publisher withdraws in the end is not acknowledged to who sends the same bytes',
  inTown(async (town) => {
    const beforeRecord = latch()
    const mayRecord = latch()
    const recorded = latch()
    const mayLook = latch()
    const publisher = await town.open({
      at: async (step) => {
        if (step !== 'record created') return
        recorded.open()
        await mayLook.opened
      },
    })
    publisher.backend.before = async (verb, key) => {
      if (verb !== 'put' || !key.startsWith(catalogPrefix)) return
      beforeRecord.open()
      await mayRecord.opened
    }
    const listed = latch()
    const mayDelete = latch()
    const remover = await town.open({
      at: async (step) => {
        if (step !== 'catalog listed') return
        listed.open()
        await mayDelete.opened
      },
    })
    const image = (): ReturnType<typeof streamOf> => streamOf(disk(1))
    const first = failure(publisher.store.ingest(request('jammy', { version: 'v1' }), image))
    await beforeRecord.opened
    const removal = remover.store.remove('jammy')
    await listed.opened
    mayRecord.open()
    await recorded.opened
    // The record is there, and so are its bytes: for a moment everything looks published.
    const third = await town.open()
    const looked = latch()
    third.backend.before = async (verb, key) => {
      if (verb === 'list' && key.startsWith(marksPrefix)) looked.open()
    }
    const sha512 = createHash('sha512').update(disk(1)).digest('hex')
    const expected = [`sha512:${sha512}`]
    const again = failure(third.store.ingest(request('jammy', { version: 'v1', expected }), image))
    await Promise.race([looked.opened, again])
    mayLook.open()
    assert.is((await first).code, 'aborted')
    assert.is((await again).code, 'aborted')
    mayDelete.open()
    await removal
    assert.equal(town.keys(catalogPrefix), [])
  }),
)

same.run()
