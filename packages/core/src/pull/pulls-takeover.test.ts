// Pulls whose server dies or stops in the middle: another goes on from where it was, on both kinds of
// stores, and never mixes two editions of a source.

import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, readAll } from '../backend.ts'
import type { Image } from '../image.ts'
import { bytesKey, parseJobKey } from '../layout.ts'
import type { Failpoint, Step } from '../publish.ts'
import type { ImageStore } from '../store.ts'
import { MemoryBackend } from '../testing/memory.ts'
import { type Pulling, outcome, pullOf, pulling } from '../testing/pulling.ts'
import { type Instance, type Town, disk, failure, keysOf } from '../testing/rig.ts'

const takeover = suite('pulls: take-over')

const mebibyte = 1024 * 1024
/** Bytes reach the storage in pieces of a MiB. */
const body = disk(1, 3_500_000)
const half = 2_300_000

/** A URL that gives half of the image and then nothing, until it is asked for the rest. */
function servingHalf({ web }: Pulling, options: { etag?: string | null } = {}): string {
  const fault = (count: number) => (count === 1 ? { stallAfterBytes: half } : undefined)
  return web.serve('/disk.img', body, { fault, ...options }).href
}

async function reach({ store }: Instance, image: Image, processedSize: number): Promise<void> {
  for (;;) {
    const now = await store.get(image.name, { uuid: image.uuid })
    if (now.processedSize >= processedSize) return
    await pause(5)
  }
}

/** Its beat says, durably, how much another server can go on from. */
async function tell(
  town: Town,
  { store }: Instance,
  image: Image,
  leastBytes: number = 2 * mebibyte,
): Promise<void> {
  for (;;) {
    await store.beat()
    const beats = town.keys(`.jobs/${image.name}-${image.uuid}/`).filter((key) => /beat/.test(key))
    const newest = JSON.parse(town.text(beats.at(-1) ?? '') || '{}') as { durableSize?: number }
    if ((newest.durableSize ?? 0) >= leastBytes) return
    await pause(5)
  }
}

async function assertBytes(store: ImageStore, name: string, expected: Buffer): Promise<void> {
  const opened = await store.open(name)
  assert.ok((await readAll(await opened.read(), 2 ** 24)).equals(expected))
}

/** From which byte each request asked. */
function starts({ web }: Pulling): string[] {
  return web.seen('/disk.img').map(({ headers }) => headers.range ?? 'all')
}

for (const goesOn of [false, true]) {
  const kind = goesOn ? 'a store that goes on in place' : 'a store that gives back what was left'
  const backendOf = (town: Town): MemoryBackend => {
    return new MemoryBackend({ shared: town.medium, goesOn })
  }

  takeover(
    `on ${kind} another server goes on where a dead one was`,
    pulling(async (rig) => {
      const { town, open } = rig
      const first = await open({}, backendOf(town))
      const url = servingHalf(rig)
      const { image } = await first.store.pull(pullOf('jammy', { url }))
      await reach(first, image, half)
      await tell(town, first, image)
      town.medium.kill(first.backend.owner)
      let goOn = (): void => {}
      const opened = new Promise<void>((resolve) => (goOn = resolve))
      const at: Failpoint = (step) => (step === 'bytes stored' ? opened : undefined)
      const { store, problems } = await open({ at }, backendOf(town))
      // Not while it sweeps at its start.
      goOn()
      const ready = await outcome(store, image)
      assert.equal([ready.state, ready.uuid, ready.message], ['ready', image.uuid, ''])
      await assertBytes(store, 'jammy', body)
      const [whole, rest, ...others] = starts(rig)
      assert.equal([whole, others], ['all', []])
      const from = Number(/^bytes=(\d+)-$/.exec(rest ?? '')?.[1])
      assert.ok(from > half / 2 && from <= half, rest)
      await store.close()
      assert.is(town.medium.unfinished.size, 0)
      assert.equal(town.unmarked(), keysOf(ready).toSorted())
      assert.equal(problems, [])
    }),
  )

  takeover(
    `on ${kind} what a server that stops was at is gone on with at once`,
    pulling(async (rig) => {
      const { town, open } = rig
      const first = await open({}, backendOf(town))
      const url = servingHalf(rig)
      const { image } = await first.store.pull(pullOf('jammy', { url }))
      await reach(first, image, half)
      await first.store.stopPulls()
      const { store } = await open({}, backendOf(town))
      const ready = await outcome(store, image)
      assert.is(ready.state, 'ready', ready.message)
      await assertBytes(store, 'jammy', body)
      assert.is(starts(rig).length, 2)
      assert.not.equal(starts(rig)[1], 'all')
      await first.store.sweep()
      assert.is(town.medium.unfinished.size, 0)
    }),
  )

  takeover(
    `on ${kind} a source that has changed meanwhile is read from its beginning`,
    pulling(async (rig) => {
      const { town, web, open } = rig
      const first = await open({}, backendOf(town))
      const url = servingHalf(rig)
      const { image } = await first.store.pull(pullOf('jammy', { url }))
      await reach(first, image, half)
      await tell(town, first, image)
      town.medium.kill(first.backend.owner)
      const other = disk(2, 3_600_000)
      web.serve('/disk.img', other)
      const { store } = await open({}, backendOf(town))
      const ready = await outcome(store, image)
      assert.is(ready.state, 'ready', ready.message)
      await assertBytes(store, 'jammy', other)
      await store.sweep()
      assert.equal(town.unmarked(), keysOf(ready).toSorted())
      assert.is(town.medium.unfinished.size, 0)
    }),
  )

  takeover(
    `on ${kind} a third server goes on after two that died`,
    pulling(async (rig) => {
      const { town, web, open } = rig
      const stalls = [half, 1_100_000]
      const url = web.serve('/disk.img', body, {
        fault: (count) => {
          const stallAfterBytes = stalls[count - 1]
          return stallAfterBytes === undefined ? undefined : { stallAfterBytes }
        },
      }).href
      const first = await open({}, backendOf(town))
      const { image } = await first.store.pull(pullOf('jammy', { url }))
      await reach(first, image, half)
      await tell(town, first, image)
      town.medium.kill(first.backend.owner)
      const second = await open({}, backendOf(town))
      await reach(second, image, half + 500_000)
      await tell(town, second, image)
      town.medium.kill(second.backend.owner)
      const { store } = await open({}, backendOf(town))
      const ready = await outcome(store, image)
      assert.is(ready.state, 'ready', ready.message)
      await assertBytes(store, 'jammy', body)
      assert.equal(
        [starts(rig).length, starts(rig).filter((each) => each === 'all').length],
        [3, 1],
      )
      await store.sweep()
      assert.is(town.medium.unfinished.size, 0)
    }),
  )

  takeover(
    `on ${kind} wrong bytes are found out although only half of them came by here`,
    pulling(async (rig) => {
      const { town, open } = rig
      const first = await open({}, backendOf(town))
      const url = servingHalf(rig)
      const expected = [`sha256:${createHash('sha256').update('other').digest('hex')}`]
      const { image } = await first.store.pull(pullOf('jammy', { url }, { expected }))
      await reach(first, image, half)
      await tell(town, first, image)
      town.medium.kill(first.backend.owner)
      const { store } = await open({}, backendOf(town))
      const failed = await outcome(store, image)
      assert.is(failed.state, 'failed')
      assert.match(failed.message, createHash('sha256').update(body).digest('hex'))
      await store.sweep()
      const kinds = new Set(town.unmarked().map((key) => parseJobKey(key)?.kind ?? key))
      assert.equal([...kinds].toSorted(), ['claim', 'end'])
      assert.is(town.medium.unfinished.size, 0)
    }),
  )
}

takeover(
  'what a server stores that does not know that it has lost the work is not gone on with',
  pulling(async (rig) => {
    const { town, web, open } = rig
    const goingOn = (): MemoryBackend => new MemoryBackend({ shared: town.medium, goesOn: true })
    const first = await open({}, goingOn())
    const url = servingHalf(rig)
    const { image } = await first.store.pull(pullOf('jammy', { url }))
    await reach(first, image, half)
    await tell(town, first, image)
    town.medium.kill(first.backend.owner)
    const other = disk(2, 3_600_000)
    web.serve('/disk.img', other, {
      fault: (count) => (count === 2 ? { stallAfterBytes: half } : undefined),
    })
    const second = await open({}, goingOn())
    await reach(second, image, half)
    await tell(town, second, image)
    town.medium.kill(second.backend.owner)
    // The first was not dead, but slow: only now it begins to store the old edition.
    async function* late(): Bytes {
      yield body.subarray(0, 3 * mebibyte)
      throw new Error('It knows by now.')
    }
    const stale = goingOn()
    const key = bytesKey('jammy', image.uuid)
    await stale.put(key, late(), { keep: () => true }).catch(() => {})
    const { store } = await open({}, goingOn())
    const ready = await outcome(store, image)
    assert.is(ready.state, 'ready', ready.message)
    await assertBytes(store, 'jammy', other)
    await store.sweep()
    assert.is(town.medium.unfinished.size, 0)
  }),
)

takeover(
  'a source that can not be compared begins anew, and is right',
  pulling(async (rig) => {
    const { town, open } = rig
    const first = await open()
    const url = servingHalf(rig, { etag: null })
    const { image } = await first.store.pull(pullOf('jammy', { url }))
    await reach(first, image, half)
    await first.store.beat()
    town.medium.kill(first.backend.owner)
    const { store } = await open()
    assert.is((await outcome(store, image)).state, 'ready')
    await assertBytes(store, 'jammy', body)
    assert.equal(starts(rig), ['all', 'all'])
  }),
)

const steps: Step[] = ['claimed', 'bytes stored', 'config stored', 'record created', 'published']
for (const step of steps) {
  takeover(
    `a server that dies at "${step}" has its pull done by the next, once`,
    pulling(async ({ town, web, open }) => {
      const url = web.serve('/disk.img', body).href
      const victim = await open({
        at: (each) => {
          if (each !== step) return
          town.medium.kill(victim.backend.owner)
          throw new Error('killed')
        },
      })
      const { image } = await victim.store.pull(pullOf('jammy', { url }))
      while (!town.medium.isDead(victim.backend.owner)) await pause(5)
      const { store } = await open()
      const ready = await outcome(store, image)
      assert.is(ready.state, 'ready', ready.message)
      await assertBytes(store, 'jammy', body)
      while (town.keys('.jobs/').length > 0) await pause(5)
      assert.equal(town.unmarked(), keysOf(ready).toSorted())
    }),
  )
}

takeover(
  'what was deleted while nobody worked on it is not begun again',
  pulling(async (rig) => {
    const { town, web, open } = rig
    const first = await open()
    const { image } = await first.store.pull(pullOf('jammy', { url: servingHalf(rig) }))
    await reach(first, image, half)
    const second = await open()
    town.medium.kill(first.backend.owner)
    await second.store.remove('jammy')
    await second.store.tend()
    await second.store.sweep()
    assert.is((await failure(second.store.get('jammy'))).code, 'not_found')
    assert.is(web.requests.length, 1)
    assert.equal(town.unmarked(), [])
    assert.is(town.medium.unfinished.size, 0)
  }),
)

takeover.run()
