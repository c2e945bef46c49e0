// What the list of all names and the listeners show of the work of this server, at once, and of
// that of others, soon.

import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Stat } from './backend.ts'
import type { StoreEvent } from './event.ts'
import { MemoryBackend } from './testing/memory.ts'
import {
  disk,
  failOnce,
  failure,
  half,
  inTown,
  latch,
  put,
  request,
  skip,
  streamOf,
} from './testing/rig.ts'

const listing = suite('store: list')

listing(
  'the list has one image a name, in name order, also of names that have only work',
  inTown(async (town) => {
    const { store } = await town.open()
    for (const name of ['noble', 'a-1', 'a1', 'a.1', 'zesty']) await put(store, name, 1)
    const newest = await put(store, 'noble', 2)
    await failOnce(store, 'bionic')
    await failOnce(store, 'noble', 'bad')
    const slow = await half(store, 'lunar')
    const listed = await store.list()
    assert.equal(
      listed.map(({ name, state }) => `${name} ${state}`),
      [
        'a-1 ready',
        'a.1 ready',
        'a1 ready',
        'bionic failed',
        'lunar in-progress',
        'noble ready',
        'zesty ready',
      ],
    )
    assert.equal(listed[5], newest)
    for (const image of listed) assert.is(image.uuid, (await store.get(image.name)).uuid)
    await slow.go()
  }),
)

listing(
  'what this server publishes, fails or deletes is in its list at once',
  inTown(async (town) => {
    const { store } = await town.open()
    const states = async () => (await store.list()).map(({ name, state }) => `${name} ${state}`)
    assert.equal(await states(), [])
    await put(store, 'jammy', 1)
    assert.equal(await states(), ['jammy ready'])
    await failOnce(store, 'noble')
    assert.equal(await states(), ['jammy ready', 'noble failed'])
    await put(store, 'noble', 1)
    assert.equal(await states(), ['jammy ready', 'noble ready'])
    await store.remove('jammy')
    assert.equal(await states(), ['noble ready'])
    const newest = await put(store, 'noble', 2)
    assert.is((await store.list())[0]?.version, newest.version)
    await store.remove('noble', { version: newest.version })
    assert.is((await store.list())[0]?.version, '2')
    await store.remove('noble')
    assert.equal(await states(), [])
    const slow = await half(store, 'lunar')
    assert.equal(await states(), ['lunar in-progress'])
    await slow.go()
    assert.equal(await states(), ['lunar ready'])
  }),
)

/** Its lists are old when they arrive: the end comes only when `goOn` opens. */
class SlowLists extends MemoryBackend {
  slow = ''
  seen = latch()
  goOn = latch()

  override async *list(prefix: string): AsyncIterable<Stat> {
    yield* super.list(prefix)
    if (prefix !== this.slow) return
    this.slow = ''
    this.seen.open()
    await this.goOn.opened
  }
}

listing(
  'a list of jobs that was under way when this server ended one does not bring it back',
  inTown(async (town) => {
    const backend = new SlowLists({ shared: town.medium })
    const { store } = await town.open({}, backend)
    const slow = await half(store, 'noble')
    assert.is((await store.list()).length, 1)
    skip(2001)
    backend.slow = '.jobs/'
    const early = store.list()
    await backend.seen.opened
    const removing = store.remove('noble')
    await failure(slow.go())
    await removing
    backend.goOn.open()
    assert.is((await early).length, 1, 'it was asked before')
    assert.equal(await store.list(), [])
  }),
)

listing(
  'a look at all versions that was under way when this server changed some changes nothing back',
  inTown(async (town) => {
    const backend = new SlowLists({ shared: town.medium })
    const { store } = await town.open({}, backend)
    await put(store, 'jammy', 1)
    await put(store, 'noble', 1)
    assert.is((await store.list()).length, 2)
    skip(5001)
    backend.slow = '.catalog/'
    const early = store.list()
    await backend.seen.opened
    await store.remove('jammy')
    const image = await put(store, 'lunar', 1)
    backend.goOn.open()
    assert.equal(
      (await early).map(({ name }) => name),
      ['lunar', 'noble'],
    )
    assert.equal((await store.list())[0], image)
  }),
)

listing(
  'a name that this server changes during every look still shows what others did to it',
  inTown(async (town) => {
    const other = await town.open()
    const backend = new SlowLists({ shared: town.medium })
    const { store } = await town.open({}, backend)
    await put(store, 'jammy', 1, 'a')
    assert.is((await store.list()).length, 1)
    const newest = await put(other.store, 'jammy', 2, 'b')
    skip(5001)
    backend.slow = '.catalog/'
    const look = store.list()
    await backend.seen.opened
    await store.remove('jammy', { version: 'a' })
    backend.goOn.open()
    assert.equal(await look, [newest])
  }),
)

listing(
  'what another server does is seen at once by name, and in the list by its next look',
  inTown(async (town) => {
    const [one, other] = [await town.open(), await town.open()]
    assert.equal(await other.store.list(), [])
    const image = await put(one.store, 'jammy', 1)
    assert.equal(await other.store.get('jammy'), image)
    skip(2001)
    await other.store.tend()
    assert.equal(await other.store.list(), [image])
    await one.store.remove('jammy')
    assert.is((await failure(other.store.open('jammy'))).code, 'not_found')
    skip(2001)
    await other.store.tend()
    assert.equal(await other.store.list(), [])
  }),
)

listing(
  'listeners are told of what this server does, once, and of what others do by the next look',
  inTown(async (town) => {
    const [one, other] = [await town.open(), await town.open()]
    const told: Record<'one' | 'other', string[]> = { one: [], other: [] }
    const say = (event: StoreEvent): string =>
      event.kind === 'deleted'
        ? `${event.name} ${event.version} deleted`
        : `${event.image.name} ${event.image.version} ${event.image.state}`
    one.store.subscribe((event) => told.one.push(say(event)))
    other.store.subscribe((event) => told.other.push(say(event)))
    const slow = await half(one.store, 'jammy')
    assert.equal(told.one, ['jammy 1 starting', 'jammy 1 in-progress'])
    await one.backend.put('unrelated', streamOf(disk(1)))
    await other.store.tend()
    assert.equal(told.other, ['jammy 1 starting'])
    await slow.go()
    assert.equal(told.one.slice(2), ['jammy 1 ready'])
    await failOnce(one.store, 'noble')
    assert.equal(told.one.slice(3), ['noble 1 starting', 'noble 1 failed'])
    skip(2001)
    await other.store.tend()
    assert.ok(told.other.includes('jammy 1 ready'))
    assert.ok(told.other.includes('noble 1 failed'))
    await one.store.remove('jammy')
    await one.store.remove('noble')
    assert.equal(told.one.slice(5), ['jammy 1 deleted', 'noble 1 deleted'])
    skip(2001)
    told.other.length = 0
    await other.store.tend()
    assert.equal(told.other.toSorted(), ['jammy 1 deleted', 'noble 1 deleted'])
  }),
)

listing(
  'an upload that is refused does not tell that the version which is there was deleted',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1, 'v1')
    const told: StoreEvent[] = []
    store.subscribe((event) => told.push(event))
    const asked = request('jammy', { version: 'v1' })
    await failure(store.ingest(asked, () => streamOf(disk(2))))
    assert.equal(
      told.map((event) => event.kind === 'image' && event.image.state),
      ['starting', 'in-progress', 'ready'],
    )
    const mustGo = await failure(
      store.ingest(request('noble', { size: 1 }), () => streamOf(disk(2))),
    )
    assert.is(mustGo.reason, 'invalid_request')
    assert.equal(told.at(-1), { kind: 'deleted', name: 'noble', version: '1' })
  }),
)

listing(
  'a version that another server deletes is told of, also where only a refused upload had shown it',
  inTown(async (town) => {
    const [one, other] = [await town.open(), await town.open()]
    await other.store.list()
    await put(one.store, 'jammy', 1, 'v1')
    const told: string[] = []
    other.store.subscribe((event) => {
      told.push(event.kind === 'image' ? event.image.state : 'deleted')
    })
    const asked = request('jammy', { version: 'v1' })
    await failure(other.store.ingest(asked, () => streamOf(disk(2))))
    assert.is(told.at(-1), 'ready')
    await one.store.remove('jammy', { version: 'v1' })
    skip(2001)
    await other.store.tend()
    assert.is(told.at(-1), 'deleted')
  }),
)

/** Each look at the catalog takes long, and shows what was there when it began. */
class SlowCatalog extends MemoryBackend {
  takesMs = 0
  #listening: (() => void) | undefined

  /** Resolves when the next list of the catalog has just been made. */
  listed(): Promise<void> {
    return new Promise((resolve) => (this.#listening = resolve))
  }

  override async *list(prefix: string): AsyncIterable<Stat> {
    const stats: Stat[] = []
    for await (const stat of super.list(prefix)) stats.push(stat)
    if (prefix === '.catalog/') {
      this.#listening?.()
      await delay(this.takesMs)
    }
    yield* stats
  }
}

listing(
  'what another server does just after a slow look has begun is told within five seconds',
  inTown(async (town) => {
    const other = await town.open()
    const backend = new SlowCatalog({ shared: town.medium })
    const { store } = await town.open({}, backend)
    const told = new Promise<void>((resolve) => {
      store.subscribe((event) => {
        if (event.kind === 'image' && event.image.state === 'ready') resolve()
      })
    })
    backend.takesMs = 2200
    await backend.listed()
    await put(other.store, 'jammy', 1)
    const publishedAt = performance.now()
    await told
    const lateMs = performance.now() - publishedAt
    assert.ok(lateMs < 5000, `${lateMs} ms`)
  }),
)

listing.run()
