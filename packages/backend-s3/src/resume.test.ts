// Downloads from a flaky store: exactly the bytes of one object, or an error, whatever is cut.

import { type Bytes, isImageError, readAll } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { FakeS3, Seen } from './testing/index.ts'
import { content } from './testing/putting.ts'
import { leftovers, outcome, prefix, told, withStore } from './testing/store.ts'

const resuming = suite('s3: downloads that are cut')
const key = 'image-0123abcd/backing'
const at = `${prefix}${key}`
const body = content(900_001)
const readLimits = { silenceMsMax: 150, patienceMs: 600 }

function downloads(server: FakeS3): Seen[] {
  return server.seen.filter((each) => each.operation === 'GetObject' && each.key === at)
}

async function whole(bytes: Bytes): Promise<Buffer> {
  return await readAll(bytes, 2 * body.length)
}

resuming(
  'any number of cut connections, each after some bytes, is survived with If-Match',
  withStore(async ({ server, backend }) => {
    const { etag } = server.medium.put(at, body, {})
    const seed = Date.now() % 1_000_000
    let state = seed
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    for (let times = 0; times < 12; times += 1) {
      const fault = { kind: 'cut answer', afterBytes: 1 + random(90_000) } as const
      server.on({ operation: 'GetObject', times: 1 }, fault)
    }
    // Rules count on their own: one request meets the first, and the next request the second.
    const read = await whole(await backend.get(key))
    assert.ok(read.equals(body), `seed ${seed}`)
    const [first, ...others] = downloads(server)
    assert.ok(others.length > 0, `seed ${seed}`)
    assert.is(first?.headers['if-match'], undefined)
    let offset = 0
    for (const { headers } of others) {
      assert.is(headers['if-match'], `"${etag}"`, `seed ${seed}`)
      const [, start = ''] = /^bytes=(\d+)-900000$/.exec(headers.range ?? '') ?? []
      assert.ok(Number(start) > offset, `seed ${seed}: read again from ${start} after ${offset}`)
      offset = Number(start)
    }
  }),
)

resuming(
  'so is a range: not one byte before or after it is asked for',
  withStore(async ({ server, backend }) => {
    server.medium.put(at, body, {})
    server.on({ operation: 'GetObject', times: 3 }, { kind: 'cut answer', afterBytes: 70_000 })
    const range = { start: 1_000, end: 400_000 }
    const read = await whole(await backend.get(key, { range }))
    assert.ok(read.equals(body.subarray(1_000, 400_001)))
    for (const { headers } of downloads(server)) {
      assert.match(headers.range ?? '', /^bytes=\d+-400000$/)
    }
  }),
)

resuming(
  'a failing store between two cuts is survived, too',
  withStore(async ({ server, backend }) => {
    server.medium.put(at, body, {})
    server.on({ operation: 'GetObject', times: 1 }, { kind: 'cut answer', afterBytes: 70_000 })
    const busy = { kind: 'refuse', status: 503, code: 'SlowDown' } as const
    server.on({ operation: 'GetObject', from: 2, times: 2 }, busy)
    server.on({ operation: 'GetObject', from: 4 }, { kind: 'lose' })
    assert.ok((await whole(await backend.get(key))).equals(body))
  }),
)

for (const [name, isIgnorant] of Object.entries({
  'an object that is replaced meanwhile is an error, and its bytes are never mixed in': false,
  'so it is where the store ignores If-Match': true,
})) {
  resuming(
    name,
    withStore(async ({ server, backend }) => {
      for (const replacement of [content(900_001).fill(1), content(10), undefined]) {
        server.calm()
        server.medium.put(at, body, {})
        const cut = { kind: 'cut answer', afterBytes: 300_000 } as const
        server.on({ operation: 'GetObject', times: 1 }, cut)
        if (isIgnorant) server.on({ operation: 'GetObject' }, { kind: 'ignore condition' })
        const seen: Uint8Array[] = []
        const error = await outcome(
          (async () => {
            for await (const chunk of await backend.get(key)) {
              seen.push(chunk)
              if (replacement) server.medium.put(at, replacement, {})
              else server.medium.objects.delete(at)
            }
          })(),
        )
        assert.ok(isImageError(error, 'unavailable', 'aborted', 'data_loss'), told(error))
        const read = Buffer.concat(seen)
        assert.ok(read.length > 0 && read.length <= 300_000)
        assert.ok(read.equals(body.subarray(0, read.length)))
      }
    }),
  )
}

resuming(
  'a connection that falls silent is replaced by another',
  withStore(
    async ({ server, backend }) => {
      server.medium.put(at, body, {})
      const silent = { kind: 'hang answer', afterBytes: 200_000 } as const
      server.on({ operation: 'GetObject', times: 2 }, silent)
      assert.ok((await whole(await backend.get(key))).equals(body))
      assert.is(downloads(server).length, 3)
      assert.equal(leftovers(server), [])
    },
    { backend: { readLimits: { silenceMsMax: 150, patienceMs: 20_000 } } },
  ),
)

resuming(
  'a store that is silent for good is unavailable within the bound, and never a short success',
  withStore(
    async ({ server, backend }) => {
      server.medium.put(at, body, {})
      for (const kind of ['hang answer', 'cut answer'] as const) {
        server.calm()
        server.on({ operation: 'GetObject', times: 1 }, { kind, afterBytes: 200_000 })
        server.on({ operation: 'GetObject', from: 2, times: Infinity }, { kind, afterBytes: 0 })
        const startedAtMs = performance.now()
        const error = await outcome(whole(await backend.get(key)))
        assert.ok(isImageError(error, 'unavailable'), told(error))
        assert.ok(performance.now() - startedAtMs < 8_000, kind)
      }
    },
    { backend: { readLimits, totalTimeoutMs: 600 } },
  ),
)

resuming(
  'a reader that is slow is waited for, however long',
  withStore(
    async ({ server, backend }) => {
      // More than the sockets' buffers hold, so that the store waits for the reader.
      const large = content(12_000_000)
      server.medium.put(at, large, {})
      const chunks: Uint8Array[] = []
      for await (const chunk of await backend.get(key)) {
        if (chunks.length === 1) await new Promise((resolve) => setTimeout(resolve, 700))
        chunks.push(chunk)
      }
      assert.ok(Buffer.concat(chunks).equals(large))
      assert.is(downloads(server).length, 1)
    },
    { backend: { readLimits } },
  ),
)

resuming(
  'leaving early, and an abort, close the connection at the store',
  withStore(async ({ server, backend }) => {
    server.medium.put(at, body, {})
    server.on({ operation: 'GetObject' }, { kind: 'hang answer', afterBytes: 200_000 })
    for await (const chunk of await backend.get(key)) {
      assert.ok(chunk.length > 0)
      break
    }
    const reason = new Error('stop')
    const controller = new AbortController()
    const bytes = await backend.get(key, { signal: controller.signal })
    setTimeout(() => controller.abort(reason), 30)
    assert.is(await outcome(whole(bytes)), reason)
    // Nobody reads the third at all.
    await (await backend.get(key))[Symbol.asyncIterator]().return?.()
    while (server.open().length > 0) await new Promise(setImmediate)
    assert.equal(
      downloads(server).map(({ end }) => end),
      ['left', 'left', 'left'],
    )
  }),
)

resuming.run()
