// Syncs whose server dies in the middle, at any moment: another goes on where it was, on both kinds of
// stores, and what comes out is the image.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { blockBytes } from '../blocks.ts'
import type { Image } from '../image.ts'
import type { ImageStore } from '../store.ts'
import { MemoryBackend } from '../testing/memory.ts'
import { outcome } from '../testing/pulling.ts'
import { type Town, keysOf, randomFrom } from '../testing/rig.ts'
import type { Mischief } from './testing/manager.ts'
import { type Syncing, imageOf, syncing, upload } from './testing/syncing.ts'

const takeover = suite('sync: take-over')

const seed = Number(process.env['SYNC_SEED'] ?? Math.floor(Math.random() * 2 ** 32))
process.stdout.write(`SYNC_SEED=${seed} `)
const random = randomFrom(seed)

const image = imageOf(1, 0, 2, 3, 4, 0, 0, 5, 6)
const kills = 3

async function assertBytes(store: ImageStore, expected: Buffer): Promise<void> {
  const opened = await store.open('copy')
  assert.ok((await readAll(await opened.read(), 2 ** 26)).equals(expected), 'the bytes differ')
}

/** From now on, once so many requests for bytes have been made, none is answered any more. */
function silenceAfter({ manager }: Syncing, requests: number): Promise<void> {
  const before = manager.of('download').length
  return new Promise((resolve) => {
    manager.mischief = ({ what, count }) => {
      if (what !== 'download' || count - before <= requests) return undefined
      resolve()
      return new Promise<Mischief>(() => {})
    }
  })
}

/** How much a successor can go on from, once nobody has more to tell. */
async function told(town: Town, store: ImageStore, { name, uuid }: Image): Promise<number> {
  let last = -1
  for (;;) {
    await pause(20)
    await store.beat()
    const beats = town.keys(`.jobs/${name}-${uuid}/`).filter((key) => /beat/.test(key))
    const sizes = beats.map((key) => JSON.parse(town.text(key)) as { durableSize?: number })
    const most = Math.max(0, ...sizes.map(({ durableSize = 0 }) => durableSize))
    if (most === last) return most
    last = most
  }
}

for (const goesOn of [false, true]) {
  for (const hasIndex of [true, false]) {
    const kind = goesOn ? 'that goes on in place' : 'that gives back what was left'
    const backendOf = ({ town }: Syncing): MemoryBackend =>
      new MemoryBackend({ shared: town.medium, goesOn })
    takeover(
      `killed again and again on a store ${kind}, ${hasIndex ? 'with' : 'without'} an index`,
      syncing(image, async (rig) => {
        const { town, manager, open } = rig
        manager.hasIndex = hasIndex
        let { store, backend } = await open(backendOf(rig))
        if (hasIndex) await upload(store, 'other', imageOf(0, 3, 9))
        let silent = silenceAfter(rig, Math.floor(random() * 4))
        const asked = await rig.ask(store)
        const deaths: { durable: number; requests: number }[] = []
        for (let kill = 1; kill <= kills; kill++) {
          // What is left may be less than that.
          await Promise.race([silent, outcome(store, asked)])
          const durable = await told(town, store, asked)
          town.medium.kill(backend.owner)
          deaths.push({ durable, requests: manager.asked.length })
          silent = silenceAfter(rig, Math.floor(random() * 4))
          if (kill === kills) manager.mischief = undefined
          ;({ store, backend } = await open(backendOf(rig)))
        }
        const ready = await outcome(store, asked)
        assert.is(ready.state, 'ready', ready.message)
        assert.is(ready.uuid, asked.uuid)
        await assertBytes(store, image)
        for (const { durable, requests } of deaths) {
          const later = manager.asked.slice(requests).filter(({ what }) => what === 'download')
          assert.ok(later.every(({ end }) => end >= durable))
        }
        await store.sweep()
        assert.is(town.medium.unfinished.size, 0)
        const others = (await store.versions('other')).flatMap((each) => keysOf(each))
        assert.equal(town.unmarked(), [...keysOf(ready), ...others].toSorted())
      }),
    )
  }

  takeover(
    `what was replaced while nobody worked on it begins anew (${goesOn})`,
    syncing(image, async (rig) => {
      const { town, manager, open } = rig
      const first = await open(new MemoryBackend({ shared: town.medium, goesOn }))
      const silent = silenceAfter(rig, 3)
      const asked = await rig.ask(first.store)
      await silent
      await told(town, first.store, asked)
      town.medium.kill(first.backend.owner)
      const other = imageOf(1, 0, 2, 33, 44, 0)
      manager.disk = other
      manager.version = '2'
      manager.mischief = undefined
      const { store } = await open(new MemoryBackend({ shared: town.medium, goesOn }))
      const ready = await outcome(store, asked)
      assert.is(ready.state, 'ready', ready.message)
      assert.is(ready.parameters['version'], '2')
      await assertBytes(store, other)
      await store.sweep()
      assert.is(town.medium.unfinished.size, 0)
    }),
  )
}

takeover(
  'who goes on does not ask for what is durable',
  syncing(image, async (rig) => {
    const { town, manager, open } = rig
    const first = await open()
    const silent = silenceAfter(rig, 4)
    const asked = await rig.ask(first.store)
    await silent
    let durable = 0
    while (durable < blockBytes) durable = await told(town, first.store, asked)
    town.medium.kill(first.backend.owner)
    manager.asked.length = 0
    manager.mischief = undefined
    const { store } = await open()
    assert.is((await outcome(store, asked)).state, 'ready')
    assert.ok(manager.of('download').every(({ end }) => end >= durable))
    assert.ok(manager.asked.every(({ headers }) => headers['x-sync-id'] === asked.uuid))
    await assertBytes(store, image)
  }),
)

takeover.run()
