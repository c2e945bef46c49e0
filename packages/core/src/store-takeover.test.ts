// A server that dies in the middle of an upload, wherever that is: the next one that looks ends the
// work, once, and leaves nothing half there.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, readAll } from './backend.ts'
import { Hasher } from './hasher.ts'
import { bytesKey, claimKey, endKey, parseJobKey, recordKey } from './layout.ts'
import type { Step } from './publish.ts'
import { settle } from './sweep.ts'
import { MemoryBackend } from './testing/memory.ts'
import {
  type Town,
  disk,
  engine,
  failure,
  inTown,
  keysOf,
  latch,
  request,
  skip,
  streamOf,
} from './testing/rig.ts'

const takeover = suite('store: take-over')

const body = disk(1, 5000)

/** A server that dies at a step of its first upload; resolves when it is dead. */
async function dieAt(town: Town, step: Step | 'half sent'): Promise<void> {
  const die = (): never => {
    town.medium.kill(victim.backend.owner)
    throw new Error('killed')
  }
  const victim = await town.open({
    at: (each) => {
      if (each === step) die()
    },
  })
  async function* source(): Bytes {
    yield body.subarray(0, 2500)
    if (step === 'half sent') die()
    yield body.subarray(2500)
  }
  const found = await victim.store.ingest(request('jammy'), source).catch((error: unknown) => error)
  assert.is(String(found), 'Error: killed')
}

const early: (Step | 'half sent')[] = ['claimed', 'half sent', 'bytes stored', 'config stored']
const late: Step[] = ['record created', 'record read back', 'marks looked for', 'published']

/** Only a failed job, and a mark where there may have been bytes. */
async function assertFailed(town: Town): Promise<void> {
  const kinds = town.unmarked().map((key) => parseJobKey(key)?.kind ?? key)
  assert.equal(kinds, ['claim', 'claim', 'end'])
  assert.is(town.medium.unfinished.size, 0)
}

for (const step of early) {
  takeover(
    `an upload whose server died at "${step}" has failed when the next server opens`,
    inTown(async (town) => {
      await dieAt(town, step)
      const { store, problems } = await town.open()
      const image = await store.get('jammy')
      assert.equal([image.state, image.version], ['failed', '1'])
      assert.match(image.message, 'Send it again')
      await assertFailed(town)
      assert.equal(problems, [])
      const again = await store.ingest(request('jammy', { version: '1' }), () => streamOf(body))
      assert.equal(town.unmarked(), keysOf(again.image).toSorted())
    }),
  )
}

for (const step of late) {
  takeover(
    `an upload whose server died at "${step}" is published: nothing else is left of it`,
    inTown(async (town) => {
      await dieAt(town, step)
      const { store } = await town.open()
      const image = await store.get('jammy')
      assert.is(image.state, 'ready')
      assert.ok((await readAll(await (await store.open('jammy')).read())).equals(body))
      assert.equal(town.keys(), keysOf(image).toSorted())
    }),
  )
}

for (const step of [...early, ...late]) {
  takeover(
    `two servers that see a third die at "${step}" end its work once`,
    inTown(async (town) => {
      const observers = [await town.open(), await town.open()]
      const told: string[] = []
      for (const { store } of observers) {
        store.subscribe((event) => {
          if (event.kind === 'image') told.push(event.image.state)
        })
      }
      await dieAt(town, step)
      const before = new Map(town.medium.objects)
      await Promise.all(observers.map(({ store }) => store.tend()))
      await Promise.all(observers.map(({ store }) => store.sweep()))
      assert.is(town.keys().filter((key) => parseJobKey(key)?.kind === 'claim').length % 2, 0)
      if (early.includes(step)) {
        await assertFailed(town)
        assert.ok(told.includes('failed'))
        assert.is(town.keys('.marks/').length, 1, 'one of them removed the bytes')
      } else {
        assert.is(town.unmarked().length, 4)
        assert.is((await observers[0]?.store.get('jammy'))?.state, 'ready')
        for (const key of town.unmarked()) {
          assert.is(town.medium.objects.get(key), before.get(key), `${key} was written again`)
        }
      }
    }),
  )
}

takeover(
  'work that was cancelled before its server died leaves no failed image',
  inTown(async (town) => {
    const reached = latch()
    const victim = await town.open({
      at: async (step) => {
        if (step !== 'bytes stored') return
        reached.open()
        await new Promise(() => {})
      },
    })
    void victim.store.ingest(request('jammy'), () => streamOf(body)).catch(() => {})
    await reached.opened
    const [image] = await victim.store.inFlight()
    // A remover that died after its first step.
    town.plant(`.jobs/jammy-${image?.uuid}/cancel.json`, '{}')
    town.medium.kill(victim.backend.owner)
    const { store } = await town.open()
    assert.equal(town.unmarked(), [])
    assert.is((await failure(store.get('jammy'))).code, 'not_found')
  }),
)

takeover(
  'the work of a living server is left alone, however long it takes',
  inTown(async (town) => {
    const hasher = new Hasher()
    const { intake, rooms } = engine(new MemoryBackend({ shared: town.medium }), hasher)
    const observer = await town.open()
    const { opened, open } = latch()
    const sent = latch()
    const upload = intake.ingest(request('jammy'), async function* () {
      yield disk(2, 1024 * 1024)
      sent.open()
      await opened
    })
    await sent.opened
    for (let round = 0; round < 20; round++) {
      await rooms.jobs.beatAll()
      skip(10_000)
      await observer.store.tend()
      await observer.store.sweep()
    }
    assert.is((await observer.store.get('jammy')).state, 'in-progress')
    open()
    const { image } = await upload
    assert.equal(
      town.unmarked().filter((key) => !key.endsWith('.beat.json')),
      keysOf(image).toSorted(),
    )
    await hasher.close()
  }),
)

takeover(
  'a server that says nothing for 30 s loses its work, and what it does later changes nothing',
  inTown(async (town) => {
    const hasher = new Hasher()
    const backend = new MemoryBackend({ shared: town.medium })
    const { intake, problems } = engine(backend, hasher)
    const observer = await town.open()
    const { opened, open } = latch()
    const paused = latch()
    // It stops just before its bytes are whole, as a machine that is suspended does.
    const upload = failure(
      intake.ingest(request('jammy'), async function* () {
        yield body
        paused.open()
        await opened
      }),
    )
    await paused.opened
    for (let round = 0; round < 4; round++) {
      assert.is.not((await observer.store.get('jammy')).state, 'failed')
      await observer.store.tend()
      skip(10_000)
    }
    const image = await observer.store.get('jammy')
    assert.is(image.state, 'failed')
    open()
    assert.is((await upload).code, 'aborted')
    assert.ok(town.medium.objects.has(bytesKey('jammy', image.uuid)), 'who lost it deletes nothing')
    assert.not(town.medium.objects.has(recordKey('jammy', '1')))
    await observer.store.sweep()
    await assertFailed(town)
    assert.equal(problems, [])
    await hasher.close()
  }),
)

takeover(
  'an end that can not be finished is tried again, and holds up no other',
  inTown(async (town) => {
    await dieAt(town, 'bytes stored')
    const [key = ''] = town.keys('jammy-')
    const uuid = key.slice('jammy-'.length, 'jammy-'.length + 8)
    const hasher = new Hasher()
    const broken = new MemoryBackend({ shared: town.medium })
    const { rooms } = engine(broken, hasher)
    broken.before = (verb, each) => {
      if (verb === 'delete' && each === bytesKey('jammy', uuid)) throw new Error('not now')
    }
    const [job] = await rooms.jobs.list()
    assert.ok(job)
    const found = await settle(rooms, job).catch((error: unknown) => error)
    assert.is(String(found), 'Error: not now')
    assert.ok(town.medium.objects.has(claimKey('jammy', uuid, 2)))
    assert.not(town.medium.objects.has(endKey('jammy', uuid)))
    // The first to try it lives on, but beats no more: it is not its own work.
    const observer = await town.open()
    for (let round = 0; round < 4; round++) {
      await observer.store.tend()
      skip(10_000)
    }
    assert.is((await observer.store.get('jammy')).state, 'failed')
    assert.not(town.medium.objects.has(bytesKey('jammy', uuid)))
    await hasher.close()
  }),
)

takeover.run()
