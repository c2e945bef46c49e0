// What of the storage is used by what; and that room which others were promised is not promised again.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesKey } from './layout.ts'
import { countRecords, toCome } from './usage.ts'
import type { VersionRecord } from './record.ts'
import { disk, failOnce, failure, half, inTown, put, request, streamOf } from './testing/rig.ts'

const usage = suite('usage')

const mebibyte = 1024 * 1024

function record(name: string, bytes: string, size: number, realSize: number): VersionRecord {
  return { name, keys: [bytes], size, realSize } as unknown as VersionRecord
}

usage('bytes that versions share are allocated once, for the first name that has them', () => {
  const [one, two] = [bytesKey('jammy', '00000001'), bytesKey('noble', '00000002')]
  const all = countRecords([
    record('noble', one, 100, 10),
    record('jammy', one, 100, 10),
    record('jammy', one, 100, 10),
    record('noble', two, 50, 50),
  ])
  assert.equal(all, {
    versions: 4,
    logical: 350,
    allocated: 60,
    shared: 200,
    names: [
      { name: 'jammy', versions: 2, logical: 200, allocated: 10, shared: 100 },
      { name: 'noble', versions: 2, logical: 150, allocated: 50, shared: 100 },
    ],
  })
  assert.equal(countRecords([]), { versions: 0, logical: 0, allocated: 0, shared: 0, names: [] })
})

usage(
  'versions, work in flight and the medium are counted, and nothing is read for it',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    await put(store, 'jammy', 1)
    await store.rollback('jammy', '1')
    await failOnce(store, 'noble')
    const uploading = await half(store, 'focal')
    const read: string[] = []
    backend.before = (verb, key) => {
      if (verb === 'get' && key.includes('/backing')) read.push(key)
    }
    const { names, space, ...counts } = await store.usage()
    backend.before = undefined
    assert.equal(counts, {
      versions: 2,
      logical: 2 * 4096,
      allocated: 4096,
      shared: 4096,
      inFlight: { jobs: 1, received: mebibyte, announced: mebibyte },
    })
    assert.equal(
      names.map(({ name }) => name),
      ['jammy'],
    )
    assert.is(space?.totalBytes, town.medium.totalBytes)
    assert.equal(read, [])
    await uploading.go()
    const after = await store.usage()
    assert.equal(after.inFlight, { jobs: 0, received: 0, announced: 0 })
    assert.is(after.logical, 2 * 4096 + 2 * mebibyte)
    await store.remove('focal')
    assert.is((await store.usage()).logical, 2 * 4096)
  }),
)

usage(
  'room that an upload to another server still needs is not given away',
  inTown(async (town) => {
    const [one, other] = [await town.open(), await town.open()]
    const uploading = await half(one.store, 'jammy')
    await one.store.beat()
    await other.store.tend()
    const ask = (size: number) => {
      const body = disk(2, size)
      return other.store.ingest(request('noble', { size }), () => streamOf(body))
    }
    town.medium.totalBytes -= town.medium.freeBytes - 3 * mebibyte
    const before = town.keys()
    // The first has one mebibyte still to bring.
    const error = await failure(ask(2 * mebibyte + 512))
    assert.is(error.reason, 'no_space')
    assert.is(error.actual, String(2 * mebibyte))
    assert.equal(town.keys(), before, 'it leaves no trace')
    assert.is((await ask(mebibyte / 2)).created, true, 'what has room is taken')
    await uploading.go()
  }),
)

usage(
  'what this very process has promised is its backend’s business, what has ended nobody’s',
  inTown(async (town) => {
    const { store } = await town.open()
    const other = await town.open()
    await failOnce(other.store, 'focal')
    const uploading = await half(store, 'jammy')
    town.medium.totalBytes -= town.medium.freeBytes - 3 * mebibyte
    const asked = request('noble', { size: 2 * mebibyte + 512 })
    const error = await failure(store.ingest(asked, () => streamOf(disk(3))))
    assert.is.not(error.reason, 'no_space', 'it is refused for its length, at its end')
    await uploading.go()
  }),
)

usage('what is still to come is never less than nothing, and nothing where nobody told', () => {
  const beat = { count: 1, state: 'in-progress' as const, processedSize: 10, at: '' }
  const claim = { size: 8 } as Parameters<typeof toCome>[0]['claim']
  assert.is(toCome({ claim, beat } as Parameters<typeof toCome>[0]), 0)
  assert.is(toCome({ claim, beat: { ...beat, size: 30 } } as Parameters<typeof toCome>[0]), 20)
  const untold = { claim: {}, beat } as Parameters<typeof toCome>[0]
  assert.is(toCome(untold), 0)
})

usage.run()
