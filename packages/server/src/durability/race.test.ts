// Two processes on one store, stopped at the worst moments: what one withdraws the other must not
// leave behind.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { nodeDisk } from '@backing-image/backend-local'
import { Gate, hooked, withFolder } from '@backing-image/backend-local/testing'
import { isImageError } from '@backing-image/core'
import { leftovers, openStore, readyBodies, upload } from './store.ts'

const races = suite('store: races of two processes')
const body = Buffer.from('the bytes of version 1')

async function assertNotFound(work: Promise<unknown>): Promise<void> {
  const failure = await work.catch((error: unknown) => error)
  assert.ok(isImageError(failure, 'not_found', 'aborted'), String(failure))
}

races('a rollback that withdraws after the delete has left its bytes to it removes them', () =>
  withFolder(async (root) => {
    const first = await openStore(root, nodeDisk)
    await upload(first.store, 'base', body)
    const created = new Gate()
    const marked = new Gate()
    const left = new Gate()
    const second = await openStore(root, nodeDisk, async (step) => {
      if (step === 'record created') created.open()
      if (step === 'record read back') await marked.opened
      if (step === 'withdrawing') await left.opened
    })
    const remover = await openStore(root, nodeDisk, async (step) => {
      if (step === 'records removed') marked.open()
    })
    const rollback = assertNotFound(second.store.rollback('base', '1'))
    await created.opened
    await remover.store.remove('base', { version: '1' })
    left.open()
    await rollback
    assert.equal(await readyBodies(first.store, 'base'), new Map())
    assert.equal(await leftovers(first), [])
    for (const each of [remover, second, first]) await each.close()
  }),
)

races('a delete that was overtaken by a new image of that version leaves the new one', () =>
  withFolder(async (root) => {
    const first = await openStore(root, nodeDisk)
    await upload(first.store, 'base', body, { version: 'stable' })
    const resume = new Gate()
    const paused = new Gate()
    const disk = hooked(async (call, proceed) => {
      // Its mark: it has looked for records, and not yet removed any.
      if (call.verb === 'link' && call.path.includes('/.marks/')) {
        paused.open()
        await resume.opened
      }
      return await proceed()
    })
    const slow = await openStore(root, disk)
    const deleting = slow.store.remove('base', { version: 'stable' })
    await paused.opened
    await first.store.remove('base', { version: 'stable' })
    const fresh = Buffer.from('other bytes')
    await upload(first.store, 'base', fresh, { version: 'stable' })
    resume.open()
    await deleting
    assert.equal(await readyBodies(first.store, 'base'), new Map([['stable', fresh]]))
    assert.equal(await leftovers(first), [])
    await slow.close()
    await first.close()
  }),
)

races.run()
