// Sources that make something elsewhere to fetch from: it goes when the work is over, whoever ends it, and
// stays as long as anybody is to go on with it.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Bytes } from '../backend.ts'
import { ImageError } from '../errors.ts'
import { outcome, pullOf, pulled, pulling } from '../testing/pulling.ts'
import { disk, latch, streamOf } from '../testing/rig.ts'
import { type PullObserver, silent } from './observer.ts'
import type { Opening, Order, Source } from './source.ts'

const clearing = suite('pulls: clearing up')

const body = disk(1)

/** Where things are made, each under the id of the work; how they are given is up to the test. */
class Workshop implements Source {
  readonly things: Set<string> = new Set()
  readonly cleared: string[] = []
  give: (order: Order) => Bytes = () => streamOf(body)
  beforeClearing: () => Promise<void> = async () => {}

  async check(): Promise<void> {}

  shown(parameters: Order['parameters']): Order['parameters'] {
    return parameters
  }

  async open(order: Order): Promise<Opening> {
    this.things.add(order.id)
    return { size: body.length, offset: 0, expected: [], bytes: this.give(order) }
  }

  async clearUp({ id }: { id: string }): Promise<void> {
    await this.beforeClearing()
    this.cleared.push(id)
    this.things.delete(id)
  }
}

const asked = pullOf('golden', { url: 'workshop' })

/** Bytes that do not come before the work is told to stop. */
async function* never({ signal }: Order): Bytes {
  await pause(2 ** 30, undefined, { signal, ref: false })
  yield body
}

async function until(check: () => boolean): Promise<void> {
  while (!check()) await pause(2)
}

clearing(
  'after success it goes, once',
  pulling(async ({ open }) => {
    const workshop = new Workshop()
    const { store } = await open({ sources: { download: workshop } })
    const image = await pulled(store, asked)
    assert.is(image.state, 'ready', image.message)
    await until(() => workshop.things.size === 0)
    assert.equal(workshop.cleared, [image.uuid])
  }),
)

clearing(
  'after a failure it goes, before that is told',
  pulling(async ({ open }) => {
    const workshop = new Workshop()
    workshop.give = () => {
      throw new ImageError('failed_precondition', 'It can not be made.')
    }
    const { store } = await open({ sources: { download: workshop } })
    const image = await pulled(store, asked)
    assert.equal([image.state, image.message], ['failed', 'It can not be made.'])
    assert.equal([workshop.things.size, workshop.cleared.length], [0, 1])
  }),
)

clearing(
  'between attempts it stays',
  pulling(async ({ open }) => {
    const workshop = new Workshop()
    let count = 0
    workshop.give = () => {
      if (++count <= 2) throw new ImageError('unavailable', 'Not now.')
      return streamOf(body)
    }
    const { store } = await open({ sources: { download: workshop }, attemptDelayMs: 1 })
    const image = await pulled(store, asked)
    assert.is(image.state, 'ready')
    await until(() => workshop.things.size === 0)
    assert.is(workshop.cleared.length, 1)
  }),
)

clearing(
  'after a delete it goes',
  pulling(async ({ open }) => {
    const workshop = new Workshop()
    workshop.give = never
    const { store } = await open({ sources: { download: workshop } })
    await store.pull(asked)
    await until(() => workshop.things.size === 1)
    await store.remove('golden')
    await until(() => workshop.things.size === 0)
  }),
)

clearing(
  'when the server stops it stays, for the one that goes on',
  pulling(async ({ open }) => {
    const workshop = new Workshop()
    workshop.give = never
    const sources = { download: workshop }
    const first = await open({ sources })
    const { image } = await first.store.pull(asked)
    await until(() => workshop.things.size === 1)
    await first.store.stopPulls()
    assert.equal(workshop.cleared, [])
    workshop.give = () => streamOf(body)
    const second = await open({ sources })
    assert.is((await outcome(second.store, image)).state, 'ready')
    await until(() => workshop.things.size === 0)
  }),
)

clearing(
  'who was taken for dead leaves it to its successor, even when it fails',
  pulling(async ({ town, open }) => {
    const workshop = new Workshop()
    const failing = latch()
    workshop.give = async function* () {
      await failing.opened
      yield* []
      throw new ImageError('failed_precondition', 'Too late.')
    }
    const sources = { download: workshop }
    const over = latch()
    const onPull = (): PullObserver => ({ ...silent, failed: over.open, left: over.open })
    const first = await open({ sources, onPull })
    const { image } = await first.store.pull(asked)
    await until(() => workshop.things.size === 1)
    const goOn = latch()
    workshop.give = async function* () {
      await goOn.opened
      yield body
    }
    const isTaken = (): boolean => town.keys(`.jobs/golden-${image.uuid}/2`).length > 0
    town.medium.kill(first.backend.owner)
    const second = await open({ sources })
    await until(isTaken)
    failing.open()
    await over.opened
    const left = [workshop.things.size, workshop.cleared.length]
    goOn.open()
    assert.equal(left, [1, 0])
    assert.is((await outcome(second.store, image)).state, 'ready')
    await until(() => workshop.things.size === 0)
  }),
)

clearing(
  'what one who died after success has left goes with its job',
  pulling(async ({ town, open }) => {
    const workshop = new Workshop()
    const sources = { download: workshop }
    const published = latch()
    const end = latch()
    workshop.beforeClearing = async () => {
      published.open()
      await end.opened
      throw new Error('It is dead.')
    }
    const first = await open({ sources })
    const { image } = await first.store.pull(asked)
    await published.opened
    town.medium.kill(first.backend.owner)
    workshop.beforeClearing = async () => {}
    const second = await open({ sources })
    await until(() => workshop.things.size === 0)
    assert.is((await second.store.get('golden', { uuid: image.uuid })).state, 'ready')
    await until(() => town.keys('.jobs/golden').length === 0)
    end.open()
  }),
)

clearing(
  'what can not be removed is told, and takes nothing back',
  pulling(async ({ open }) => {
    const workshop = new Workshop()
    workshop.beforeClearing = async () => {
      throw new Error('It stays there.')
    }
    const troubles: string[] = []
    const trouble = (error: Error): void => void troubles.push(error.message)
    const onPull = (): PullObserver => ({ ...silent, trouble })
    const { store } = await open({ sources: { download: workshop }, onPull })
    assert.is((await pulled(store, asked)).state, 'ready')
    await until(() => troubles.length > 0)
    assert.equal(troubles, ['It stays there.'])
  }),
)

clearing.run()
