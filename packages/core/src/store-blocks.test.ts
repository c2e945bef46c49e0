// The block index of an image comes with its bytes and goes with them; images that have none are
// served all the same.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { BlockHash, blockBytes, blockEntryBytes } from './blocks.ts'
import { blocksKey, bytesKey, parseRecord, recordKey } from './index.ts'
import { formatRecord } from './record.ts'
import { disk, failure, half, inTown, put, request, streamOf } from './testing/rig.ts'

const indexes = suite('store: block index')

/** A disk with blocks of zeros in it. */
function sparse(): Buffer {
  const body = disk(1, 3 * blockBytes + 1024)
  body.fill(0, blockBytes, 2 * blockBytes)
  return body
}

function indexOf(body: Buffer): Uint8Array {
  const hash = new BlockHash()
  hash.update(body)
  return hash.digest()
}

indexes(
  'the index of an image is beside its bytes, and read as a whole and in parts',
  inTown(async (town) => {
    const { store } = await town.open()
    const body = sparse()
    const { image } = await store.ingest(request('jammy'), () => streamOf(body, 99_991))
    const kept = town.medium.objects.get(blocksKey('jammy', image.uuid))?.body ?? []
    assert.ok(Buffer.from(kept).equals(indexOf(body)))
    const opened = await store.blocks('jammy')
    assert.equal(opened.image, image)
    assert.is(opened.count, 4)
    assert.ok((await readAll(await opened.bytes())).equals(indexOf(body)))
    const index = await opened.read()
    const zero = Array.from({ length: 4 }, (_, block) => index.isZero(block))
    assert.equal(zero, [false, true, false, false])
    const part = await opened.read({ first: 2, count: 2 })
    assert.equal([part.first, part.count, part.sha256(3)], [2, 2, index.sha256(3)])
    assert.is((await opened.read({ first: 4, count: 0 })).count, 0)
  }),
)

indexes(
  'a rollback has the index of the bytes that it names, until the last version of them goes',
  inTown(async (town) => {
    const { store } = await town.open()
    const first = await put(store, 'jammy', 1)
    await put(store, 'jammy', 2)
    await store.rollback('jammy', '1')
    await store.remove('jammy', { version: '1' })
    const { image, read } = await store.blocks('jammy')
    assert.equal([image.version, image.uuid], ['3', first.uuid])
    assert.ok((await read()).isGood(0, disk(1)))
    await store.remove('jammy')
    assert.equal(town.unmarked(), [])
  }),
)

indexes(
  'an image that was published without an index is served, and says that it has none',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    town.medium.remove(blocksKey('jammy', image.uuid))
    const error = await failure(store.blocks('jammy'))
    assert.is(error.code, 'not_found')
    assert.match(error.message, /jammy 1 has no block index.*Download it as a whole/)
    const { read } = await store.open('jammy')
    assert.ok((await readAll(await read())).equals(disk(1)))
    await store.remove('jammy')
    assert.equal(town.unmarked(), [])
  }),
)

indexes(
  'the index is that beside the bytes which are read',
  inTown(async (town) => {
    const { store } = await town.open()
    const one = await put(store, 'jammy', 1)
    const two = await put(store, 'jammy', 2)
    // Bytes that two keys name: the first is read as long as it is there.
    const key = recordKey('jammy', '2')
    const record = parseRecord(key, town.text(key))
    const keys = [bytesKey('jammy', one.uuid), bytesKey('jammy', two.uuid)]
    town.plant(key, formatRecord({ ...record, keys }))
    assert.ok((await (await store.blocks('jammy', { version: '2' })).read()).isGood(0, disk(1)))
    town.medium.remove(bytesKey('jammy', one.uuid))
    assert.ok((await (await store.blocks('jammy', { version: '2' })).read()).isGood(0, disk(2)))
  }),
)

indexes(
  'an index that is not one of the image is told, never believed',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const key = blocksKey('jammy', image.uuid)
    for (const body of ['', 'x'.repeat(blockEntryBytes - 1), 'x'.repeat(2 * blockEntryBytes)]) {
      town.plant(key, body)
      const error = await failure(store.blocks('jammy'))
      assert.is(error.code, 'not_found')
      assert.match(
        error.message,
        /jammy 1 is damaged.*33 are expected of 1 blocks.*scrub with repair/,
      )
    }
    town.plant(key, 'x'.repeat(blockEntryBytes))
    const { read } = await store.blocks('jammy')
    assert.is((await failure(read())).code, 'data_loss')
  }),
)

indexes(
  'what is not published has no index, and says in which state it is',
  inTown(async (town) => {
    const { store } = await town.open()
    assert.is((await failure(store.blocks('jammy'))).code, 'not_found')
    const { go } = await half(store, 'jammy')
    const error = await failure(store.blocks('jammy'))
    assert.equal([error.code, error.state], ['not_found', 'in-progress'])
    const { size } = await go()
    assert.is((await (await store.blocks('jammy')).read()).size, size)
  }),
)

indexes(
  'an index that can not be stored leaves no image',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const broken = new Error('the disk is broken')
    backend.before = async (verb, key) => {
      if (verb === 'put' && key.endsWith('/blocks')) throw broken
    }
    const asked = store.ingest(request('jammy'), () => streamOf(disk(1)))
    assert.is(await asked.catch((error: unknown) => error), broken)
    assert.equal(town.keys('.catalog/'), [])
    assert.equal(
      town.keys().filter((key) => key.startsWith('jammy-')),
      [],
    )
  }),
)

indexes.run()
