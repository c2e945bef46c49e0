// `get` and `stat`: the exact bytes or an error, never a short success.

import assert from 'node:assert/strict'
import { type Bytes, bytesOf } from '../../backend.ts'
import { type Case, absent, content, kibibyte, mebibyte, read, refuses, same } from './case.ts'
import { inChunks } from './source.ts'

const large = 4 * mebibyte

/** What came before the end, and whether that end was an error. */
async function readToEnd(
  bytes: Bytes,
  first: () => Promise<void>,
): Promise<{ body: Buffer; failed: boolean }> {
  const chunks: Uint8Array[] = []
  try {
    for await (const chunk of bytes) {
      chunks.push(chunk)
      if (chunks.length === 1) await first()
    }
  } catch {
    return { body: Buffer.concat(chunks), failed: true }
  }
  return { body: Buffer.concat(chunks), failed: false }
}

export const getCases: Case[] = [
  {
    name: 'get and stat of an absent key are not_found, get before it resolves',
    async run(backend, other) {
      await absent('g/key', backend, other)
      await backend.put('g/other', bytesOf('x'))
      await absent('g/key', backend, other)
      const ranged = (): Promise<unknown> => backend.get('g/key', { range: { start: 0, end: 0 } })
      await refuses('not_found', ranged, 'a range of an absent key')
    },
  },
  {
    name: 'what is only the beginning or the continuation of a key is not_found',
    async run(backend, other) {
      await backend.put('g/key', bytesOf('x'))
      await absent('g', backend, other)
      await absent('g/key/more', backend, other)
      await absent('g/ke', backend, other)
      await absent('G/key', backend, other)
    },
  },
  {
    name: 'a range gives exactly its bytes, the last one included',
    async run(backend, other) {
      const body = content(2 * mebibyte + 77)
      await backend.put('g/key', inChunks(body, 64 * kibibyte))
      const last = body.length - 1
      const ranges = [
        [0, 0],
        [last, last],
        [0, last],
        [1, last],
        [0, last - 1],
        [12_345, 12_345],
        [4_095, 4_096],
        [65_535, 65_536],
        [mebibyte - 1, mebibyte],
        [1_000, 2 * mebibyte + 1],
      ] as const
      for (const [start, end] of ranges) {
        for (const reader of [backend, other]) {
          const part = await read(reader, 'g/key', { range: { start, end } })
          same(part, body.subarray(start, end + 1), `bytes ${start} to ${end}`)
        }
      }
    },
  },
  {
    name: 'a range that is not within the object is out_of_range before get resolves',
    async run(backend) {
      await backend.put('g/key', bytesOf(content(100)))
      await backend.put('g/empty', bytesOf(''))
      const ranges = [
        ['g/key', 100, 100],
        ['g/key', 1_000, 2_000],
        ['g/key', 0, 100],
        ['g/key', 99, 1_000],
        ['g/key', 10, 9],
        ['g/key', -1, 5],
        ['g/empty', 0, 0],
        ['g/empty', 0, -1],
      ] as const
      for (const [key, start, end] of ranges) {
        const get = (): Promise<unknown> => backend.get(key, { range: { start, end } })
        await refuses('out_of_range', get, `bytes ${start} to ${end} of ${key}`)
      }
    },
  },
  {
    name: 'a get may be stopped early, before its first chunk or after it',
    async run(backend, other) {
      const body = content(large)
      await backend.put('g/key', inChunks(body, mebibyte))
      for (let round = 0; round < 20; round += 1) {
        for await (const chunk of await backend.get('g/key')) {
          same(chunk, body.subarray(0, chunk.length), 'the first chunk')
          break
        }
        const iterator = (await backend.get('g/key'))[Symbol.asyncIterator]()
        await iterator.return?.()
        assert.equal((await iterator.next()).done, true, 'a stopped get goes on')
      }
      same(await read(other, 'g/key'), body, 'the object afterwards')
      await backend.delete('g/key')
      await absent('g/key', backend, other)
    },
  },
  {
    name: 'readers of one object do not disturb each other',
    async run(backend, other) {
      const body = content(large + 5)
      await backend.put('g/key', inChunks(body, mebibyte))
      const ranges = Array.from({ length: 8 }, (_, index) => ({
        start: index * 100_003,
        end: body.length - 1 - index * 200_003,
      }))
      await Promise.all(
        ranges.map(async (range, index) => {
          const part = await read(index % 2 === 0 ? backend : other, 'g/key', { range })
          same(part, body.subarray(range.start, range.end + 1), `reader ${index}`)
        }),
      )
    },
  },
  {
    name: 'a get whose object is deleted or replaced meanwhile gives all old bytes or throws',
    async run(backend, other) {
      const old = content(large)
      const changes = [
        async (): Promise<void> => await other.delete('g/key'),
        async (): Promise<void> => void (await other.put('g/key', bytesOf('short'))),
        async (): Promise<void> => void (await other.put('g/key', inChunks(content(large, 2)))),
      ]
      for (const [index, change] of changes.entries()) {
        await backend.put('g/key', inChunks(old, mebibyte))
        const { body, failed } = await readToEnd(await backend.get('g/key'), change)
        if (!failed) assert.equal(body.length, old.length, `change ${index}: a short success`)
        same(body, old.subarray(0, body.length), `change ${index}`)
      }
    },
  },
  {
    name: 'the tag changes when content is replaced by other content of equal length',
    async run(backend, other) {
      let tag = (await backend.put('g/key', bytesOf(content(1_000, 1)))).tag
      for (let round = 2; round < 10; round += 1) {
        const put = await backend.put('g/key', bytesOf(content(1_000, round)))
        assert.notEqual(put.tag, tag, 'the tag that put returns')
        assert.equal((await backend.stat('g/key')).tag, put.tag, 'the tag by stat')
        assert.equal((await other.stat('g/key')).tag, put.tag, 'the tag by stat elsewhere')
        tag = put.tag
      }
    },
  },
  {
    name: 'reading leaves the tag and the time as they are',
    async run(backend, other) {
      await backend.put('g/key', bytesOf('body'))
      const before = await backend.stat('g/key')
      await read(backend, 'g/key')
      await read(other, 'g/key')
      await backend.put('g/neighbour', bytesOf('body'))
      const after = await backend.stat('g/key')
      assert.equal(after.tag, before.tag)
      assert.equal(after.modifiedAt, before.modifiedAt)
      assert.equal(typeof after.modifiedAt, 'bigint')
    },
  },
]
