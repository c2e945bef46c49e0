// At most one scrub runs in a store, whoever asks, and every process tells of it.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { scrubReportKey } from '../layout.ts'
import { ImageStore } from '../store.ts'
import { MemoryBackend, MemoryStore } from '../testing/memory.ts'
import { failure, inTown, latch, put } from '../testing/rig.ts'
import { ended, fast, midway, scrubbed } from '../testing/scrubbing.ts'

const scrubs = suite('scrubs')

const nowhere = '0123456789abcdef'

scrubs(
  'a scrub is told of by every process while it runs and when it has ended',
  inTown(async (town) => {
    const { store, id, go } = await midway(town)
    const other = await town.open()
    await store.scrubs.beat()
    for (const each of [store, other.store]) {
      const report = await each.scrubs.get(id)
      assert.is(report.state, 'running')
      assert.is(report.endedAt, null)
      assert.is(report.steps.find(({ name }) => name === 'digests')?.state, 'running')
      const [listed] = await each.scrubs.list()
      assert.is(listed?.id, id)
      assert.not.ok('findings' in (listed ?? {}))
    }
    go()
    assert.is((await ended(other.store, id)).state, 'done')
    assert.is((await ended(store, id)).state, 'done')
    while (town.keys('.jobs/SCRUB/').length > 1) await store.scrubs.beat()
    assert.equal(town.keys('.jobs/SCRUB/'), [scrubReportKey(id)])
  }),
)

scrubs(
  'while one runs another is refused, by the same process and by others, and told its id',
  inTown(async (town) => {
    const { store, id, go } = await midway(town)
    const other = await town.open()
    for (const each of [store, other.store]) {
      const error = await failure(each.scrubs.start())
      assert.is(error.reason, 'already_exists')
      assert.match(error.message, `/v1/scrub/${id}`)
    }
    go()
    await ended(other.store, id)
    assert.is((await scrubbed(other.store)).state, 'done', 'at once after it')
    assert.is((await scrubbed(store)).state, 'done')
  }),
)

scrubs(
  'of many that are asked for at once, in several processes, one begins',
  inTown(async (town) => {
    const servers = [await town.open(), await town.open(), await town.open()]
    const { opened, open } = latch()
    for (const { backend } of servers) {
      backend.before = async (verb, key) => {
        if (verb === 'list' && key === '') await opened
      }
    }
    const asked = servers.flatMap(({ store }) => [store.scrubs.start(), store.scrubs.start()])
    const results = await Promise.allSettled(asked)
    assert.is(results.filter(({ status }) => status === 'fulfilled').length, 1)
    open()
  }),
)

scrubs(
  'a scrub is cancelled by its own process at once, by another with its next beat',
  inTown(async (town) => {
    const one = await midway(town)
    await one.store.scrubs.cancel(one.id)
    one.go()
    assert.is((await ended(one.store, one.id)).state, 'cancelled')
    const two = await midway(town)
    const other = await town.open()
    await other.store.scrubs.cancel(two.id)
    assert.is((await other.store.scrubs.get(two.id)).state, 'running')
    await two.store.scrubs.beat()
    two.go()
    const report = await ended(other.store, two.id)
    assert.is(report.state, 'cancelled')
    assert.is(report.steps.find(({ name }) => name === 'digests')?.state, 'stopped')
  }),
)

scrubs(
  'to cancel one that has ended removes its report; one that is not there is not found',
  inTown(async (town) => {
    const { store } = await town.open()
    const { id } = await scrubbed(store)
    await store.scrubs.cancel(id)
    assert.is((await failure(store.scrubs.get(id))).code, 'not_found')
    assert.is((await failure(store.scrubs.cancel(id))).code, 'not_found')
    assert.is((await failure(store.scrubs.get('running'))).code, 'invalid_argument')
    assert.is((await failure(store.scrubs.get(nowhere))).code, 'not_found')
  }),
)

scrubs(
  'the newest twenty reports are kept, whatever they are called',
  inTown(async (town) => {
    const { store } = await town.open()
    const ids: string[] = []
    for (let count = 0; count < 23; count++) ids.push((await scrubbed(store)).id)
    await scrubbed(store)
    const listed = (await store.scrubs.list()).map(({ id }) => id)
    assert.is(listed.length, 21, 'and that which began last')
    assert.equal(listed.slice(1), ids.slice(3).toReversed())
  }),
)

scrubs(
  'what it is told of at its end is the whole report, once',
  inTown(async (town) => {
    const told: string[] = []
    const scrub = { ...fast, onEnd: ({ state }: { state: string }) => void told.push(state) }
    const { store } = await town.open({ scrub })
    await scrubbed(store)
    assert.equal(told, ['done'])
  }),
)

scrubs(
  'nothing else of the store minds the files of scrubs, nor do scrubs those of images',
  inTown(async (town) => {
    const { store, problems } = await town.open()
    await put(store, 'scrub', 1)
    await scrubbed(store)
    town.pass(24 * 30)
    await store.sweep()
    assert.is(town.keys('.jobs/SCRUB/').length, 1)
    assert.equal(await store.inFlight(), [])
    await store.remove('scrub')
    assert.is((await store.scrubs.list()).length, 1)
    assert.equal(problems, [])
  }),
)

scrubs('a store that may not be written to is not scrubbed', async () => {
  class Refusing extends MemoryBackend {
    readonly findings: [] = []
    readonly writeRefusal = 'It can not create exclusively.'
  }
  const medium = new MemoryStore()
  const store = await ImageStore.open(new Refusing({ shared: medium }))
  assert.is((await failure(store.scrubs.start())).reason, 'forbidden')
  assert.is(medium.objects.size, 0)
  await store.close()
})

scrubs.run()
