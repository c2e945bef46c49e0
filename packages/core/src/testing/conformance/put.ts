// `put`: the whole object or nothing, replaced in one step, whatever the chunks look like.

import assert from 'node:assert/strict'
import { type Backend, bytesOf } from '../../backend.ts'
import { type Case, absent, content, failsWith, kibibyte, listed, mebibyte } from './case.ts'
import { read, refuses, same } from './case.ts'
import { failing, inChunks } from './source.ts'

/** Stores `body` and reads it back, through both. */
async function roundTrip(
  backend: Backend,
  other: Backend,
  body: Uint8Array,
  chunkBytes: number,
  what: string,
  size?: number,
): Promise<void> {
  const source = inChunks(body, chunkBytes)
  const stat = await backend.put('a/key', source, size === undefined ? {} : { size })
  source.assertReadOnce()
  assert.equal(stat.size, body.length, `${what}: the size that put returns`)
  assert.equal((await other.stat('a/key')).size, body.length, `${what}: the size by stat`)
  same(await read(backend, 'a/key'), body, what)
  same(await read(other, 'a/key'), body, what)
}

export const putCases: Case[] = [
  {
    name: 'what was put is what get, stat and list give',
    async run(backend, other) {
      const body = content(10_000)
      const put = await backend.put('a/key', bytesOf(body))
      same(await read(backend, 'a/key'), body, 'the object')
      for (const each of [backend, other]) {
        const stat = await each.stat('a/key')
        const inList = []
        for await (const entry of each.list('')) inList.push(entry)
        assert.equal(inList.length, 1)
        for (const found of [put, stat, ...inList]) {
          assert.equal(found.key, 'a/key')
          assert.equal(found.size, body.length)
          assert.equal(found.tag, stat.tag)
          assert.equal(typeof found.modifiedAt, 'bigint')
          assert.ok(found.modifiedAt > 0n)
          if (found.allocated !== undefined) assert.ok(found.allocated >= 0)
        }
      }
    },
  },
  {
    name: 'empty bytes make an empty object',
    async run(backend, other) {
      await roundTrip(backend, other, new Uint8Array(0), 1, 'an empty object')
      assert.deepEqual(await listed(backend), ['a/key'])
    },
  },
  {
    name: 'an object may replace one of any other length',
    async run(backend, other) {
      for (const size of [100_000, 7, 0, 3, 100_000]) {
        await roundTrip(backend, other, content(size, size + 1), 64 * kibibyte, `${size} bytes`)
      }
    },
  },
  {
    name: 'a source of one-byte chunks is stored whole',
    async run(backend, other) {
      await roundTrip(backend, other, content(5_000), 1, 'one-byte chunks')
    },
  },
  {
    name: 'a source of one 5 MiB chunk is stored whole',
    async run(backend, other) {
      const body = content(5 * mebibyte)
      await roundTrip(backend, other, body, body.length, 'one chunk')
    },
  },
  {
    name: 'runs of zeros in front, in the middle, at the end and alone read back exactly',
    async run(backend, other) {
      const zeros = Buffer.alloc(mebibyte + 4_097)
      const data = content(70_001)
      const bodies = {
        front: [zeros, data],
        middle: [data, zeros, data],
        end: [data, zeros],
        both: [zeros, data, zeros],
        alone: [zeros, zeros],
        short: [Buffer.alloc(1)],
      }
      for (const [what, parts] of Object.entries(bodies)) {
        for (const chunkBytes of [64 * kibibyte, mebibyte]) {
          const body = Buffer.concat(parts)
          await roundTrip(backend, other, body, chunkBytes, `zeros: ${what}`)
        }
      }
    },
  },
  {
    name: 'a size that turns out wrong is only a hint: what came is stored',
    async run(backend, other) {
      const body = content(300_000)
      for (const size of [0, 1, 299_999, 300_000, 300_001, 20 * mebibyte]) {
        await roundTrip(backend, other, body, 64 * kibibyte, `with the hint ${size}`, size)
      }
      await roundTrip(backend, other, new Uint8Array(0), 1, 'empty, with a hint', 100)
    },
  },
  {
    name: 'a size that does not fit is resource_exhausted before the first byte is read',
    async run(backend, other) {
      const source = inChunks(content(10))
      await refuses(
        'resource_exhausted',
        () => backend.put('a/key', source, { size: Number.MAX_SAFE_INTEGER }),
        'put of more than any medium holds',
      )
      assert.equal(source.pulls, 0, 'the source was read')
      await absent('a/key', backend, other)
    },
  },
  {
    name: 'a failing source rejects with its own error and makes no object',
    async run(backend, other) {
      for (const size of [0, 10, 100_000, 9 * mebibyte]) {
        const error = new Error(`the source failed after ${size} bytes`)
        const source = failing(content(size), 64 * kibibyte, error)
        await failsWith(error, backend.put('a/key', source, { size: size * 2 }), error.message)
        source.assertReadOnce()
        await absent('a/key', backend, other)
      }
      // The folder that it might have made must not stand in the way either.
      await backend.put('a', bytesOf('a'))
    },
  },
  {
    name: 'a failing source leaves the old object',
    async run(backend, other) {
      const old = content(50_000)
      const { tag } = await backend.put('a/key', bytesOf(old))
      for (const size of [0, 10, 50_000, 9 * mebibyte]) {
        const error = new Error(`the source failed after ${size} bytes`)
        // Fails at the end too: all bytes came, and their source says that they are not good.
        const source = failing(content(size, 2), 64 * kibibyte, error)
        await failsWith(error, backend.put('a/key', source, { size }), error.message)
        same(await read(other, 'a/key'), old, 'the old object')
        assert.equal((await backend.stat('a/key')).tag, tag, 'the tag of the old object')
      }
    },
  },
  {
    name: 'a put in flight is seen by nobody',
    async run(backend, other) {
      const error = new Error('stop')
      let looks = 0
      const source = failing(content(3 * mebibyte), mebibyte, error)
      async function* looking(): AsyncIterable<Uint8Array> {
        for await (const chunk of source) {
          await absent('a/key', backend, other)
          assert.deepEqual(await listed(other), [])
          looks += 1
          yield chunk
        }
      }
      await failsWith(error, backend.put('a/key', looking()), 'the put')
      assert.equal(looks, 3)
    },
  },
  {
    name: 'a reader that races a replacement sees the old object or the new one, never a mix',
    async run(backend, other) {
      let before = content(300_000, 100)
      await backend.put('a/key', bytesOf(before))
      for (let round = 0; round < 20; round += 1) {
        const after = content(200_000 + round * 10_000, 101 + round)
        const state = { over: false }
        const write = async (): Promise<void> => {
          const writer = round % 2 === 0 ? backend : other
          try {
            await writer.put('a/key', inChunks(after, 32 * kibibyte))
          } finally {
            state.over = true
          }
        }
        const watch = async (reader: Backend): Promise<void> => {
          while (!state.over) {
            const seen = await read(reader, 'a/key')
            same(seen, seen.length === before.length ? before : after, `round ${round}`)
          }
        }
        await Promise.all([write(), watch(backend), watch(other)])
        same(await read(other, 'a/key'), after, `after round ${round}`)
        before = after
      }
    },
  },
  {
    name: 'of two writers to one key both succeed and one object is left, whole',
    async run(backend, other) {
      for (let round = 0; round < 10; round += 1) {
        const one = content(150_000, 1)
        const two = content(120_000, 2)
        await Promise.all([
          backend.put('a/key', inChunks(one, 16 * kibibyte)),
          other.put('a/key', inChunks(two, 16 * kibibyte)),
        ])
        const left = await read(backend, 'a/key')
        same(left, left.length === one.length ? one : two, `round ${round}`)
        assert.deepEqual(await listed(backend), ['a/key'])
      }
    },
  },
]
