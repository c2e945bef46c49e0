// The sweep removes what nobody works on any more, and never what this store did not make.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { blocksKey, bytesKey, claimKey, configKey, markKey, recordKey } from './layout.ts'
import { MemoryBackend } from './testing/memory.ts'
import {
  type Town,
  disk,
  failure,
  inTown,
  keysOf,
  latch,
  request,
  streamOf,
} from './testing/rig.ts'

const sweeping = suite('sweep')

/** A put that never ends, of a process that lives on. */
async function hangingPut(backend: MemoryBackend, key: string): Promise<void> {
  const begun = latch()
  backend
    .put(
      key,
      (async function* () {
        yield Buffer.from('half')
        begun.open()
        await new Promise(() => {})
      })(),
    )
    .catch(() => {})
  await begun.opened
}

sweeping(
  'unfinished bytes that no job stands for are discarded',
  inTown(async (town) => {
    const { store } = await town.open()
    await hangingPut(new MemoryBackend({ shared: town.medium }), bytesKey('jammy', '0badcafe'))
    await store.sweep()
    assert.is(town.medium.unfinished.size, 0)
  }),
)

sweeping(
  'unfinished bytes of a living job are left alone, by its own server and by others',
  inTown(async (town) => {
    const [one, other] = [await town.open(), await town.open()]
    const { opened, open } = latch()
    const begun = latch()
    const upload = one.store.ingest(request('jammy'), async function* () {
      yield disk(1, 2 * 1024 * 1024)
      begun.open()
      await opened
    })
    await begun.opened
    town.pass(100)
    await one.store.sweep()
    await other.store.sweep()
    assert.is(town.medium.unfinished.size, 1)
    open()
    assert.is((await upload).created, true)
  }),
)

sweeping(
  'other unfinished objects go when they are over an hour old by the clock of the store, never what others upload',
  inTown(async (town) => {
    const { store } = await town.open()
    const backend = new MemoryBackend({ shared: town.medium })
    await hangingPut(backend, recordKey('jammy', '1'))
    await hangingPut(backend, 'films/alien.iso')
    town.pass(0.9)
    await store.sweep()
    assert.is(town.medium.unfinished.size, 2)
    town.pass(0.2)
    await store.sweep()
    const left = [...town.medium.unfinished.values()].map((put) => put.key)
    assert.equal(left, ['films/alien.iso'])
  }),
)

sweeping(
  'files of a job that nothing claims go after an hour, those of a claimed one stay',
  inTown(async (town) => {
    const { store } = await town.open()
    const stray = [
      '.jobs/canary-0badcafe.json',
      '.jobs/jammy-0badcafe/1.beat.json',
      '.jobs/jammy-0badcafe/cancel.json',
      '.jobs/jammy-0badcafe/end.json',
    ]
    for (const key of stray) town.plant(key, '{}')
    await failure(store.ingest(request('jammy', { size: 1 }), () => streamOf(Buffer.alloc(0))))
    const kept = town.keys().filter((key) => !stray.includes(key))
    town.plant('.jobs/notes.txt', 'not ours')
    await store.sweep()
    assert.is(town.keys().length, stray.length + kept.length + 1, 'too early')
    town.pass(1.1)
    await store.sweep()
    assert.equal(town.keys(), [...kept, '.jobs/notes.txt'].toSorted())
  }),
)

/** Dies when its mark is there, before the record goes. */
async function dieDeleting(town: Town, name: string, isKilled: boolean): Promise<void> {
  const victim = await town.open({
    at: (step) => {
      if (step !== 'records removed') return
      if (isKilled) town.medium.kill(victim.backend.owner)
      throw new Error('stopped')
    },
  })
  await victim.store.ingest(request(name), () => streamOf(disk()))
  await victim.store.rollback(name, '1')
  await failure(victim.store.remove(name, { version: '2' })).catch(() => {})
  assert.is(town.keys('.marks/').length, 1)
}

sweeping(
  'the mark of a dead remover goes when a record names the bytes: they may be named again',
  inTown(async (town) => {
    await dieDeleting(town, 'jammy', true)
    const { store } = await town.open()
    assert.is(town.keys('.marks/').length, 0)
    assert.is((await store.rollback('jammy', '1')).version, '2')
  }),
)

sweeping(
  'the mark of a remover that may be alive stays: it may go on',
  inTown(async (town) => {
    await dieDeleting(town, 'jammy', false)
    await town.open()
    assert.is(town.keys('.marks/').length, 1)
  }),
)

sweeping(
  'marks go when they are over a week old, not before',
  inTown(async (town) => {
    const { store } = await town.open()
    await store.ingest(request('jammy'), () => streamOf(disk(1)))
    await store.remove('jammy')
    town.pass(24 * 7 - 0.1)
    await store.sweep()
    assert.is(town.keys('.marks/').length, 1)
    town.pass(0.2)
    await store.sweep()
    assert.equal(town.keys(), [])
  }),
)

sweeping(
  'bytes that a paused owner stored under a mark are removed, those of a living job are not',
  inTown(async (town) => {
    const { store } = await town.open()
    for (const keyOf of [bytesKey, configKey, blocksKey]) {
      town.plant(keyOf('jammy', '0badcafe'), 'late')
    }
    town.plant(markKey('jammy', '0badcafe', 'a'), '{}')
    await store.sweep()
    assert.equal(town.unmarked(), [])

    const { opened, open } = latch()
    const reached = latch()
    const { store: other } = await town.open({
      at: async (step) => {
        if (step !== 'bytes stored') return
        reached.open()
        await opened
      },
    })
    const upload = other.ingest(request('noble'), () => streamOf(disk(1)))
    await reached.opened
    const [image] = await other.inFlight()
    const uuid = image?.uuid ?? ''
    town.plant(markKey('noble', uuid, 'a'), '{}')
    await store.sweep()
    assert.ok(town.medium.objects.has(bytesKey('noble', uuid)))
    open()
    assert.is((await failure(upload)).code, 'aborted', 'the mark forbids it')
    assert.is(town.unmarked().filter((key) => key.includes('noble')).length, 0)
  }),
)

sweeping(
  'a record whose bytes are marked and gone is not found before, and removed',
  inTown(async (town) => {
    const { store } = await town.open()
    const older = await store.ingest(request('jammy'), () => streamOf(disk(1)))
    const { image } = await store.ingest(request('jammy'), () => streamOf(disk(2)))
    town.plant(markKey('jammy', image.uuid, 'a'), '{}')
    town.medium.remove(bytesKey('jammy', image.uuid))
    town.medium.remove(configKey('jammy', image.uuid))
    town.medium.remove(blocksKey('jammy', image.uuid))
    assert.is((await failure(store.open('jammy', { version: '2' }))).code, 'not_found')
    assert.is((await store.get('jammy')).version, '1')
    await store.sweep()
    assert.equal(town.unmarked(), keysOf(older.image).toSorted())
    assert.is((await store.list())[0]?.version, '1')
  }),
)

sweeping(
  'a record whose bytes are gone without a mark is no business of the sweep',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await store.ingest(request('jammy'), () => streamOf(disk(1)))
    town.medium.remove(bytesKey('jammy', image.uuid))
    const before = town.keys()
    await store.sweep()
    assert.equal(town.keys(), before)
  }),
)

sweeping(
  'a mark on bytes that a version names takes nothing away',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await store.ingest(request('jammy'), () => streamOf(disk(1)))
    const mark = markKey('jammy', image.uuid, 'a')
    town.plant(mark, '{}')
    await store.sweep()
    assert.equal(town.keys(), [...keysOf(image), mark].toSorted())
    assert.is((await store.get('jammy')).state, 'ready')
  }),
)

sweeping(
  'folders of others are never listed, deleted or swept, whatever they are called',
  inTown(async (town) => {
    const foreign = [
      bytesKey('jammy', '0badcafe'),
      configKey('jammy', '0badcafe'),
      blocksKey('jammy', '0badcafe'),
      bytesKey('noble', '0badcafe'),
      'jammy/backing',
      'lost.found/x',
      'jammy-0badcafe/backing.tmp',
      '.catalog/README.md',
      '.marks/README.md',
      '.jobs/README.md',
    ]
    for (const key of foreign) town.plant(key, 'foreign')
    const { store } = await town.open()
    const { image } = await store.ingest(request('jammy'), () => streamOf(disk(1)))
    town.pass(24 * 30)
    await store.sweep()
    await store.tend()
    assert.equal(
      (await store.list()).map((each) => each.name),
      ['jammy'],
    )
    assert.equal((await store.versions('jammy')).length, 1)
    assert.is((await failure(store.openFile('jammy', '0badcafe'))).code, 'not_found')
    assert.is((await failure(store.remove('noble'))).code, 'not_found')
    assert.equal(town.keys(), [...foreign, ...keysOf(image)].toSorted())
    await store.remove('jammy')
    await store.sweep()
    assert.equal(town.unmarked(), foreign.filter((key) => !key.startsWith('.marks/')).toSorted())
    for (const key of foreign) assert.is(town.text(key), 'foreign')
  }),
)

sweeping(
  'the check writes, looks and leaves nothing, and tells when the storage does not work',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    await store.check()
    assert.equal(town.keys(), [])
    backend.before = (verb) => {
      if (verb === 'stat') throw new Error('not now')
    }
    const found = await store.check().catch((error: unknown) => error)
    assert.is(String(found), 'Error: not now')
    assert.equal(town.keys(), [], 'also then')
  }),
)

sweeping(
  'a half removed job, whose first claim has gone, is no job, and its files go after an hour',
  inTown(async (town) => {
    const dead = new MemoryBackend({ shared: town.medium })
    const { description } = request('x')
    const claim = { layout: 1, name: 'jammy', uuid: '0badcafe', epoch: 3, owner: dead.owner }
    const rest = { version: '1', versionGiven: true, description, createdAt: '2026-01-01' }
    town.plant(claimKey('jammy', '0badcafe', 3), JSON.stringify({ ...claim, ...rest }))
    town.medium.kill(dead.owner)
    const { store } = await town.open()
    assert.is((await failure(store.get('jammy'))).code, 'not_found')
    assert.is(town.unmarked().length, 1)
    town.pass(2)
    await store.sweep()
    assert.equal(town.keys(), [])
  }),
)

sweeping.run()
