// Whose memory is a chunk, and what an abort leaves: nothing, and a source that was let go once.

import assert from 'node:assert/strict'
import { bytesOf } from '../../backend.ts'
import { type Case, absent, collect, content, failsWith, kibibyte, listed } from './case.ts'
import { mebibyte, read, same, soon } from './case.ts'
import { endless, inChunks, overwriting, stuck } from './source.ts'

/** Content with runs of zeros that begin and end at odd places, as disk images have them. */
function withHoles(sizeBytes: number): Buffer {
  const body = content(sizeBytes, 7)
  const step = Math.max(16, Math.floor(sizeBytes / 5))
  for (let at = Math.floor(step / 3); at < sizeBytes; at += step) {
    body.fill(0, at, Math.min(sizeBytes, at + Math.floor(step / 2)))
  }
  return body
}

export const chunkCases: Case[] = [
  {
    name: 'a source that overwrites each chunk when the next is asked for is stored exactly',
    async run(backend, other) {
      const around = [4 * kibibyte, 64 * kibibyte, mebibyte]
      const sizes = around.flatMap((size) => [size - 1, size, size + 1])
      for (const chunkBytes of [3, 1_000, 777_777, ...sizes]) {
        const body = withHoles(3 * chunkBytes + Math.floor(chunkBytes / 3))
        const source = overwriting(body, chunkBytes)
        await backend.put('c/key', source, { size: body.length })
        source.assertReadOnce()
        same(await read(other, 'c/key'), body, `chunks of ${chunkBytes} bytes`)
      }
    },
  },
  {
    name: 'so is a large one, of many chunks and parts',
    async run(backend, other) {
      const body = withHoles(21 * mebibyte + 12_345)
      for (const chunkBytes of [200_000, mebibyte]) {
        const source = overwriting(body, chunkBytes)
        await backend.put('c/key', source)
        source.assertReadOnce()
        same(await read(other, 'c/key'), body, `chunks of ${chunkBytes} bytes`)
      }
    },
  },
  {
    name: 'so is a small one with ifAbsent',
    async run(backend, other) {
      const body = withHoles(100_000)
      const source = overwriting(body, 999)
      await backend.put('c/key', source, { ifAbsent: true })
      source.assertReadOnce()
      same(await read(other, 'c/key'), body, 'chunks of 999 bytes')
    },
  },
  {
    name: 'chunks of get belong to the caller: they may be kept, and overwritten',
    async run(backend, other) {
      const body = content(4 * mebibyte + 3)
      await backend.put('c/key', inChunks(body, mebibyte))
      // Kept until the end: none may be filled again for the next.
      same(await read(backend, 'c/key'), body, 'kept chunks')
      let offset = 0
      for await (const chunk of await backend.get('c/key')) {
        assert.ok(chunk.length > 0, 'an empty chunk')
        same(chunk, body.subarray(offset, offset + chunk.length), 'a chunk before it is changed')
        offset += chunk.length
        chunk.fill(0xee)
      }
      assert.equal(offset, body.length)
      same(await read(backend, 'c/key'), body, 'the object afterwards')
      same(await read(other, 'c/key'), body, 'the object afterwards, elsewhere')
    },
  },
  {
    name: 'an empty object has no chunk at all',
    async run(backend) {
      await backend.put('c/empty', bytesOf(''))
      for await (const chunk of await backend.get('c/empty')) {
        assert.fail(`a chunk of ${chunk.length} bytes`)
      }
    },
  },
]

export const abortCases: Case[] = [
  {
    name: 'a put whose signal is aborted before it begins does nothing',
    async run(backend, other) {
      const signal = AbortSignal.abort()
      const source = inChunks(content(100))
      const options = { signal, ifAbsent: true }
      await failsWith(signal.reason, backend.put('c/key', source, options), 'the put')
      await failsWith(signal.reason, backend.put('c/key', source, { signal }), 'the put')
      assert.deepEqual(source.faults, [])
      await absent('c/key', backend, other)
    },
  },
  {
    name: 'an aborted put rejects with the reason, leaves the old object and lets go once',
    async run(backend, other) {
      const old = content(1_000)
      await backend.put('c/old', bytesOf(old))
      for (const key of ['c/old', 'c/new']) {
        for (const after of [0, 1, 12]) {
          const reason = new Error(`stop after ${after}`)
          const controller = new AbortController()
          const source = endless(content(mebibyte), (index) => {
            if (index === after) controller.abort(reason)
          })
          const put = backend.put(key, source, { signal: controller.signal })
          await failsWith(reason, soon(put, 'an aborted put rejects'), `put of ${key}`)
          await source.assertLetGo()
        }
      }
      same(await read(other, 'c/old'), old, 'the old object')
      await absent('c/new', backend, other)
      assert.deepEqual(await listed(other), ['c/old'])
    },
  },
  {
    name: 'a put whose source hangs can be left by aborting it',
    async run(backend, other) {
      const reason = new Error('stop waiting')
      const controller = new AbortController()
      const { source, hangs, release } = stuck(content(100))
      void hangs.then(() => controller.abort(reason))
      const put = backend.put('c/key', source, { signal: controller.signal })
      await failsWith(reason, soon(put, 'a hanging put rejects when it is aborted'), 'the put')
      release()
      await source.assertLetGo()
      await absent('c/key', backend, other)
    },
  },
  {
    name: 'a get whose signal is aborted rejects with the reason',
    async run(backend) {
      await backend.put('c/key', bytesOf('x'))
      const signal = AbortSignal.abort()
      await failsWith(signal.reason, backend.get('c/key', { signal }), 'the get')
    },
  },
  {
    name: 'a get that is aborted in the middle throws the reason, and never ends short',
    async run(backend) {
      const body = content(8 * mebibyte)
      await backend.put('c/key', inChunks(body, mebibyte))
      const reason = new Error('stop reading')
      const controller = new AbortController()
      const { signal } = controller
      let length = 0
      const reading = (async () => {
        for await (const chunk of await backend.get('c/key', { signal })) {
          same(chunk, body.subarray(length, length + chunk.length), 'a chunk')
          length += chunk.length
          controller.abort(reason)
        }
        // Who gives everything in one chunk has nothing left to refuse.
        if (length === body.length) throw reason
      })()
      await failsWith(reason, soon(reading, 'an aborted get ends'), 'the get')
    },
  },
  {
    name: 'an abort after the end changes nothing',
    async run(backend, other) {
      const controller = new AbortController()
      const { signal } = controller
      await backend.put('c/key', bytesOf('whole'), { signal })
      assert.equal((await collect(await backend.get('c/key', { signal }))).toString(), 'whole')
      controller.abort()
      await soon(new Promise((resolve) => setImmediate(resolve)), 'a turn')
      assert.equal((await read(other, 'c/key')).toString(), 'whole')
    },
  },
]
