// Deleting and rolling back: only what was meant goes, work in flight stops, and bytes stay for as
// long as any version names them.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { Hasher } from './hasher.ts'
import { bytesKey, recordKey, parseMarkKey } from './layout.ts'
import type { Step } from './publish.ts'
import type { ImageStore } from './store.ts'
import { MemoryBackend } from './testing/memory.ts'
import {
  disk,
  engine,
  failure,
  inTown,
  keysOf,
  latch,
  put,
  request,
  streamOf,
} from './testing/rig.ts'

const removing = suite('store: remove')

async function bytesOfImage(store: ImageStore, name: string, version: string): Promise<Buffer> {
  return await readAll(await (await store.open(name, { version })).read())
}

removing(
  'a rollback is a new version of the older bytes, and copies none',
  inTown(async (town) => {
    const { store } = await town.open()
    const first = await put(store, 'jammy', 1, 'v1')
    const second = await put(store, 'jammy', 2)
    const back = await store.rollback('jammy', 'v1')
    assert.equal(
      [back.version, back.rollbackOf, back.uuid, back.currentChecksum, back.state],
      ['2', 'v1', first.uuid, first.currentChecksum, 'ready'],
    )
    assert.equal(await store.get('jammy'), back)
    assert.ok((await bytesOfImage(store, 'jammy', '2')).equals(disk(1)))
    assert.equal(
      town.keys(),
      [...keysOf(first), ...keysOf(second), recordKey('jammy', '2')].toSorted(),
    )
    const again = await store.rollback('jammy', '2')
    assert.equal([again.version, again.rollbackOf, again.uuid], ['3', '2', first.uuid])
    assert.is((await failure(store.rollback('jammy', '7'))).code, 'not_found')
    assert.is((await failure(store.rollback('noble', '1'))).code, 'not_found')
  }),
)

removing(
  'rollbacks that race all get a version of their own',
  inTown(async (town) => {
    const [one, other] = [await town.open(), await town.open()]
    await put(one.store, 'jammy', 1)
    const images = await Promise.all(
      [one, other, one, other].map(({ store }) => store.rollback('jammy', '1')),
    )
    assert.equal(images.map((image) => image.version).toSorted(), ['2', '3', '4', '5'])
    assert.is((await one.store.versions('jammy')).length, 5)
  }),
)

removing(
  'deleting the older version keeps the bytes that a rollback names, and leaves no mark on them',
  inTown(async (town) => {
    const { store } = await town.open()
    const first = await put(store, 'jammy', 1)
    await put(store, 'jammy', 2)
    await store.rollback('jammy', '1')
    await store.remove('jammy', { version: '1' })
    assert.is((await failure(store.get('jammy', { version: '1' }))).code, 'not_found')
    assert.ok((await bytesOfImage(store, 'jammy', '3')).equals(disk(1)))
    assert.equal(town.keys('.marks/'), [])
    for (const key of keysOf(first).slice(2))
      assert.ok(town.medium.objects.has(key), `${key} has gone`)
    const again = await store.rollback('jammy', '3')
    assert.ok((await bytesOfImage(store, 'jammy', again.version)).equals(disk(1)))
  }),
)

removing(
  'with the last version that names them the bytes go, and a mark stays',
  inTown(async (town) => {
    const { store } = await town.open()
    const { uuid } = await put(store, 'jammy', 1)
    await store.rollback('jammy', '1')
    await store.remove('jammy', { version: '1' })
    await store.remove('jammy', { version: '2' })
    assert.equal(town.unmarked(), [])
    assert.equal(
      town.keys().map((key) => parseMarkKey(key)),
      [{ name: 'jammy', uuid }],
    )
    assert.equal(await store.list(), [])
  }),
)

removing(
  'deleting a name deletes all of its versions and failures, and nothing of another',
  inTown(async (town) => {
    const { store } = await town.open()
    const other = await put(store, 'jammy-2', 1)
    for (const seed of [1, 2, 3]) await put(store, 'jammy', seed)
    await store.rollback('jammy', '1')
    await failure(store.ingest(request('jammy', { size: 1 }), () => streamOf(Buffer.alloc(0))))
    await store.remove('jammy')
    assert.equal(town.unmarked(), keysOf(other).toSorted())
    assert.equal(await store.versions('jammy'), [])
    assert.is((await failure(store.remove('jammy'))).code, 'not_found')
    assert.equal((await store.list()).length, 1)
  }),
)

removing(
  'deleting what is not there is not found, and puts nothing',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    assert.is((await failure(store.remove('noble'))).code, 'not_found')
    assert.is((await failure(store.remove('jammy', { version: '2' }))).code, 'not_found')
    assert.is((await failure(store.remove('../x'))).code, 'invalid_argument')
    assert.equal(town.keys(), keysOf(image).toSorted())
  }),
)

removing(
  'a failed image is deleted by its version',
  inTown(async (town) => {
    const { store } = await town.open()
    await failure(store.ingest(request('jammy', { size: 1 }), () => streamOf(Buffer.alloc(0))))
    await store.remove('jammy', { version: '1' })
    assert.equal(town.keys(), [])
  }),
)

/** An upload that goes on for as long as nobody stops it. */
async function endless(store: Pick<ImageStore, 'ingest'>, name: string) {
  const flows = latch()
  let isReturned = false
  const done = store.ingest(request(name), async function* () {
    try {
      for (let seed = 1; ; seed++) {
        yield disk(seed, 1024 * 1024)
        flows.open()
        await pause(1)
      }
    } finally {
      isReturned = true
    }
  })
  const failed = failure(done)
  await Promise.race([flows.opened, failed])
  return { failed, isReturned: () => isReturned }
}

removing(
  'deleting cancels own work in flight at once, and leaves nothing but a mark',
  inTown(async (town) => {
    const { store, problems } = await town.open()
    const upload = await endless(store, 'jammy')
    await store.remove('jammy')
    assert.is((await upload.failed).code, 'aborted')
    assert.equal(town.unmarked(), [])
    assert.is(town.keys('.marks/').length, 1)
    assert.is(town.medium.unfinished.size, 0)
    assert.is((await failure(store.get('jammy'))).code, 'not_found')
    assert.equal(await store.list(), [])
    for (let tries = 0; tries < 500 && !upload.isReturned(); tries++) await pause(5)
    assert.is(upload.isReturned(), true, 'the source was let go of')
    assert.equal(problems, [])
  }),
)

removing(
  'deleting cancels the work of another server by its next beat',
  inTown(async (town) => {
    const hasher = new Hasher()
    const { intake, rooms } = engine(new MemoryBackend({ shared: town.medium }), hasher)
    const { store } = await town.open()
    const upload = await endless(intake, 'jammy')
    await store.remove('jammy')
    assert.is((await failure(store.get('jammy'))).code, 'not_found')
    await rooms.jobs.beatAll()
    assert.is((await upload.failed).code, 'aborted')
    assert.equal(town.unmarked(), [])
    assert.is(town.medium.unfinished.size, 0)
    await hasher.close()
  }),
)

const beforePublished: Step[] = [
  'claimed',
  'bytes stored',
  'config stored',
  'record created',
  'record read back',
]

for (const step of beforePublished) {
  removing(
    `an upload that is deleted by another server at "${step}" is aborted and leaves nothing`,
    inTown(async (town) => {
      const reached = latch()
      const goOn = latch()
      const { store: uploading, problems } = await town.open({
        at: async (each) => {
          if (each !== step) return
          reached.open()
          await goOn.opened
        },
      })
      const { store } = await town.open()
      const failed = failure(put(uploading, 'jammy', 1))
      await reached.opened
      await store.remove('jammy')
      goOn.open()
      assert.is((await failed).code, 'aborted')
      assert.equal(town.unmarked(), [])
      assert.is((await failure(store.get('jammy'))).code, 'not_found')
      assert.equal(problems, [])
    }),
  )
}

removing(
  'an upload that begins while a delete is under way survives',
  inTown(async (town) => {
    const reached = latch()
    const goOn = latch()
    const { store: deleting } = await town.open({
      at: async (each) => {
        if (each !== 'records removed') return
        reached.open()
        await goOn.opened
      },
    })
    const { store } = await town.open()
    await put(store, 'jammy', 1, 'v1')
    const deleted = deleting.remove('jammy')
    await reached.opened
    const image = await put(store, 'jammy', 2, 'v1')
    goOn.open()
    await deleted
    assert.ok((await bytesOfImage(store, 'jammy', 'v1')).equals(disk(2)))
    assert.equal(town.unmarked(), keysOf(image).toSorted())
  }),
)

removing(
  'who stops in the middle of deleting leaves what the next delete, or the sweep, finishes',
  inTown(async (town) => {
    for (const step of [
      'records removed',
      'mark put',
      'catalog listed',
      'config deleted',
    ] as const) {
      const victim = await town.open({
        at: (each) => {
          if (each !== step) return
          town.medium.kill(victim.backend.owner)
          throw new Error('killed')
        },
      })
      const { uuid } = await put(victim.store, 'jammy', 1)
      await victim.store.remove('jammy').catch(() => {})
      assert.ok(town.medium.objects.has(bytesKey('jammy', uuid)), step)
      const { store } = await town.open()
      await store.sweep()
      assert.equal(town.unmarked(), [], step)
    }
  }),
)

removing(
  'what was read before a delete is read to its end or fails, never short',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    const { read } = await store.open('jammy')
    const begun = await read()
    await store.remove('jammy')
    assert.ok((await readAll(begun)).equals(disk(1)))
    assert.is((await failure(read())).code, 'not_found')
  }),
)

removing.run()
