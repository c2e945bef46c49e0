// The same content is kept once, between names, versions and servers, and what shares it never loses it.

import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { ImageError } from './errors.ts'
import { Hasher } from './hasher.ts'
import { Jobs } from './job.ts'
import { bytesKey, catalogPrefix, recordKey } from './layout.ts'
import { formatRecord } from './record.ts'
import { runCase } from './testing/conformance.ts'
import { MemoryBackend, MemoryStore } from './testing/memory.ts'
import {
  bytesOf,
  copies,
  disk,
  engine,
  failure,
  inTown,
  keysOf,
  put,
  randomFrom,
  recordOf,
  request,
} from './testing/rig.ts'
import { sharingCases } from './testing/sharing.ts'

const sharing = suite('store: sharing')

for (const each of sharingCases) {
  sharing(each.name, async () => {
    await runCase(each, async () => {
      const shared = new MemoryStore()
      return {
        backend: new MemoryBackend({ shared }),
        other: new MemoryBackend({ shared }),
        close: async () => {},
      }
    })
  })
}

sharing(
  'a second image of the same content is a record alone, which goes by its own uuid',
  inTown(async (town) => {
    const { store, problems } = await town.open()
    const first = await put(store, 'jammy', 1)
    const second = await put(store, 'noble', 1)
    const shared = bytesKey('jammy', first.uuid)
    assert.equal(town.keys(), [...keysOf(first), recordKey('noble', '1')].toSorted())
    assert.equal(recordOf(town, 'noble').keys, [shared, bytesKey('noble', second.uuid)])
    assert.equal(recordOf(town, 'noble').layout, 2)
    assert.is.not(second.uuid, first.uuid)
    const file = await store.openFile('noble', second.uuid)
    assert.ok((await readAll(await file.read())).equals(disk(1)))
    assert.is((await failure(store.openFile('noble', first.uuid))).code, 'not_found')
    assert.equal(problems, [])
  }),
)

sharing(
  'a rollback to what shares its bytes names the same, and copies none',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    await put(store, 'noble', 1)
    await store.rollback('noble', '1')
    assert.equal(recordOf(town, 'noble', '2').keys, recordOf(town, 'noble').keys)
    await store.remove('jammy')
    await store.remove('noble', { version: '1' })
    assert.ok((await bytesOf(store, 'noble')).equals(disk(1)))
    assert.is(copies(town).length, 1)
    await store.remove('noble')
    assert.equal(town.unmarked(), [])
  }),
)

sharing(
  'a uuid that only a record goes by is not drawn again',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    const { uuid } = await put(store, 'noble', 1)
    const hasher = new Hasher()
    const { rooms } = engine(new MemoryBackend({ shared: town.medium }), hasher)
    const drawn = [uuid, '0badcafe']
    const jobs = new Jobs(
      rooms.backend,
      rooms.onProblem,
      (name, each) => rooms.catalog.goesBy(name, each),
      () => drawn.shift() ?? '',
    )
    jobs.close()
    const { description } = request('noble')
    const own = await jobs.begin({ name: 'noble', version: '2', versionGiven: false, description })
    assert.is(own.claim.uuid, '0badcafe')
    await hasher.close()
  }),
)

sharing(
  'bytes of another size, or that somebody may be removing, are not shared',
  inTown(async (town) => {
    const { store } = await town.open()
    const { uuid } = await put(store, 'jammy', 1)
    town.plant(`.marks/jammy-${uuid}/0123.json`, '{}')
    const noble = await put(store, 'noble', 1)
    assert.equal(recordOf(town, 'noble').keys, [bytesKey('noble', noble.uuid)])
    for (const key of copies(town)) town.plant(key, 'cut off')
    const lunar = await put(store, 'lunar', 1)
    assert.equal(recordOf(town, 'lunar').keys, [bytesKey('lunar', lunar.uuid)])
  }),
)

sharing(
  'where nobody can tell what is there already, a copy is stored',
  inTown(async (town) => {
    const { store, backend, problems } = await town.open()
    await put((await town.open()).store, 'jammy', 1)
    backend.before = (verb, key) => {
      if (verb !== 'list' || key !== catalogPrefix) return
      throw new ImageError('unavailable', 'broken on purpose')
    }
    await put(store, 'noble', 1)
    assert.is(copies(town).length, 2)
    assert.match(problems[0]?.message ?? '', 'broken on purpose')
  }),
)

sharing(
  'a record of the first layout is read, and its bytes are shared',
  inTown(async (town) => {
    const { store } = await town.open()
    const { uuid } = await put(store, 'jammy', 1)
    const old = { ...recordOf(town, 'jammy'), layout: 1 }
    town.plant(recordKey('jammy', '1'), formatRecord(old))
    await put(store, 'noble', 1)
    assert.equal(copies(town), [bytesKey('jammy', uuid)])
    assert.is(recordOf(town, 'noble').keys[0], bytesKey('jammy', uuid))
  }),
)

sharing(
  'of 10,000 images to delete one costs one list of the catalog, and no read of the others',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const first = await put(store, 'jammy', 1)
    await put(store, 'noble', 1)
    const record = recordOf(town, 'jammy')
    for (let index = 0; index < 10_000; index++) {
      const name = `image-${index}`
      const uuid = index.toString(16).padStart(8, '0')
      const other = { ...record, id: name, name, uuid, keys: [bytesKey(name, uuid)] }
      town.plant(recordKey(name, '1'), formatRecord(other))
    }
    await put(store, 'lunar', 2)
    await put(store, 'lunar', 3)
    const calls: string[] = []
    backend.before = (verb, key) => {
      if (key.startsWith('.catalog/') && !/jammy|lunar/.test(key)) calls.push(`${verb} ${key}`)
    }
    await store.remove('jammy')
    assert.equal(calls, ['list .catalog/'])
    assert.ok(town.keys().includes(bytesKey('jammy', first.uuid)))
  }),
)

sharing('servers that share everything lose nothing, whatever races', async () => {
  const seed = Date.now() % 1_000_000
  await inTown(async (town) => {
    const random = randomFrom(seed)
    const servers = await Promise.all([town.open(), town.open(), town.open()])
    for (const { backend } of servers) {
      backend.before = async () => {
        if (random() > 0.7) await pause(random() * 2)
      }
    }
    const live = async ({ store }: (typeof servers)[number], who: number): Promise<void> => {
      for (let round = 0; round < 25; round++) {
        const name = `name-${who}-${Math.floor(random() * 2)}`
        const content = random() > 0.5 ? 1 : 2
        const image = await put(store, name, content)
        assert.ok((await bytesOf(store, name, image.version)).equals(disk(content)), image.version)
        if (random() > 0.7) {
          const back = await store.rollback(name, image.version)
          assert.ok((await bytesOf(store, name, back.version)).equals(disk(content)))
        }
        if (random() > 0.4) await store.remove(name)
      }
    }
    try {
      await Promise.all(servers.map(live))
      const { store } = await town.open()
      const names = (await store.list()).map(({ name }) => name)
      const named = new Set<string>()
      for (const name of names) {
        for (const { version, currentChecksum } of await store.versions(name)) {
          const bytes = await bytesOf(store, name, version)
          assert.is(createHash('sha512').update(bytes).digest('hex'), currentChecksum)
          for (const key of recordOf(town, name, version).keys) named.add(key)
        }
      }
      for (const key of copies(town)) assert.ok(named.has(key), `${key} is left`)
      for (const name of names) await store.remove(name)
      assert.is(town.unmarked().join(' '), '')
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error })
    }
  })()
})

sharing.run()
