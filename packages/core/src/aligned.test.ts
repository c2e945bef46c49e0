// The aligned rendition: the stored bytes, zeros up to whole sectors and nothing more, wherever a range
// of it begins and ends, with digests of its own.

import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Range, readAll } from './backend.ts'
import { recordKey } from './layout.ts'
import type { ImageStore } from './store.ts'
import { disk, failure, inTown, recordOf, request, streamOf } from './testing/rig.ts'

const aligned = suite('the aligned rendition')

function digest(algorithm: string, body: Uint8Array): string {
  return createHash(algorithm).update(body).digest('hex')
}

async function stored(store: ImageStore, body: Buffer): Promise<{ name: string; uuid: string }> {
  return (await store.ingest(request('jammy'), () => streamOf(body))).image
}

for (const [sizeBytes, alignedBytes] of [
  [4097, 4608],
  [4607, 4608],
  [5000, 5120],
] as const) {
  aligned(
    `${sizeBytes} bytes become ${alignedBytes}, in every range`,
    inTown(async (town) => {
      const { store } = await town.open()
      const body = disk(1, sizeBytes)
      const whole = Buffer.alloc(alignedBytes)
      body.copy(whole)
      const { name, uuid } = await stored(store, body)
      const { image, read } = await store.openFile(name, uuid, true)
      const checksums = { sha512: digest('sha512', whole), sha256: digest('sha256', whole) }
      assert.equal([image.size, image.checksums], [alignedBytes, checksums])
      assert.is(image.currentChecksum, checksums.sha512)
      assert.ok((await readAll(await read())).equals(whole))
      const edges = [0, 1, 511, 512, sizeBytes - 1, sizeBytes, sizeBytes + 1, alignedBytes - 1]
      for (const start of edges) {
        for (const end of [...edges, alignedBytes, alignedBytes + 9]) {
          if (end < start || start >= alignedBytes) continue
          const range: Range = { start, end }
          const found = await readAll(await read(range))
          assert.ok(found.equals(whole.subarray(start, end + 1)), JSON.stringify(range))
        }
      }
      // The file itself stays what it is.
      const plain = await store.openFile(name, uuid)
      assert.is(plain.image.size, sizeBytes)
      assert.equal(recordOf(town, 'jammy').aligned, { size: alignedBytes, checksums })
    }),
  )
}

aligned(
  'an image of whole sectors is its own rendition',
  inTown(async (town) => {
    const { store } = await town.open()
    const body = disk(1, 4096)
    const { name, uuid } = await stored(store, body)
    const { image, read } = await store.openFile(name, uuid, true)
    assert.is(image.currentChecksum, digest('sha512', body))
    assert.ok((await readAll(await read())).equals(body))
    assert.is(recordOf(town, 'jammy').aligned, undefined)
  }),
)

aligned(
  'where the record does not know its digests it says what to do',
  inTown(async (town) => {
    const { store } = await town.open()
    const { name, uuid } = await stored(store, disk(1, 5000))
    const { aligned: _, ...older } = recordOf(town, 'jammy')
    town.plant(recordKey('jammy', '1'), JSON.stringify(older))
    const other = await town.open()
    const error = await failure(other.store.openFile(name, uuid, true))
    assert.is(error.code, 'failed_precondition')
    assert.match(error.message, 'Store it once more')
  }),
)

aligned.run()
