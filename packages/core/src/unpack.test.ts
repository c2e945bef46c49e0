// Compressed bytes are unpacked while they pass: never more than a few pieces ahead, never beyond the
// limits, and nothing is left behind however a stream ends.

import { gzipSync } from 'node:zlib'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Bytes } from './backend.ts'
import type { Compression } from './compression.ts'
import { allCompressions, packed, sample, zerosBytes } from './testing/packed.ts'
import { content } from './testing/conformance/case.ts'
import { failure, latch, streamOf } from './testing/rig.ts'
import { type UnpackOptions, unpack } from './unpack.ts'

const unpacking = suite('unpack')

const mebibyte = 1024 * 1024
const never = new AbortController().signal

function opened(
  bytes: Bytes,
  compression: Compression,
  options: Partial<UnpackOptions> = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  return unpack(bytes, compression, { signal: never, sizeMax: 2 ** 40, ...options })
}

async function collected(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) {
    assert.ok(chunk.length > 0, 'an empty chunk')
    chunks.push(Uint8Array.from(chunk))
  }
  return Buffer.concat(chunks)
}

async function countOf(bytes: Bytes): Promise<number> {
  let count = 0
  for await (const chunk of bytes) count += chunk.length
  return count
}

/** The same file again and again, and how often it was asked for. */
function repeated(file: Uint8Array, times: number): { given: number; bytes: () => Bytes } {
  const source = {
    given: 0,
    async *bytes(): Bytes {
      while (source.given < times) {
        source.given += 1
        yield file
      }
    },
  }
  return source
}

/** Threads end a little after they were told to. */
async function untilThreads(count: number): Promise<void> {
  while (threads() > count) await pause(5)
}

function threads(): number {
  return process.getActiveResourcesInfo().filter((each) => each === 'MessagePort').length
}

for (const compression of allCompressions) {
  unpacking(`${compression}: however the file is cut into chunks, the same comes out`, async () => {
    const file = packed(compression)
    for (const chunkBytes of [1, 7, 100, file.length]) {
      const body = await collected(opened(streamOf(file, chunkBytes), compression))
      assert.ok(body.equals(sample), `chunks of ${chunkBytes}`)
    }
  })

  unpacking(`${compression}: the memory of a chunk may be used again for the next`, async () => {
    async function* source(): Bytes {
      const buffer = Buffer.alloc(64)
      for await (const chunk of streamOf(packed(compression), buffer.length)) {
        buffer.set(chunk)
        yield buffer.subarray(0, chunk.length)
        buffer.fill(0xff)
      }
    }
    assert.ok((await collected(opened(source(), compression))).equals(sample))
  })

  unpacking(`${compression}: the error of the source comes through unchanged`, async () => {
    const broken = new Error('the source broke')
    for (const cut of [0, 20, packed(compression).length]) {
      async function* source(): Bytes {
        yield* streamOf(packed(compression).subarray(0, cut))
        throw broken
      }
      const found: unknown = await collected(opened(source(), compression)).catch((error) => error)
      assert.is(found, broken, `after ${cut} bytes`)
    }
  })

  unpacking(`${compression}: a reader that stops ends the source and the thread`, async () => {
    const before = threads()
    const returned = latch()
    async function* source(): Bytes {
      try {
        for (;;) yield packed(compression, 'zeros')
      } finally {
        returned.open()
      }
    }
    for await (const chunk of opened(source(), compression)) {
      assert.ok(chunk.length > 0)
      assert.is(threads() > before, compression !== 'gzip')
      break
    }
    await returned.opened
    await untilThreads(before)
  })

  unpacking(`${compression}: an abort ends a stream whose source is stuck`, async () => {
    const before = threads()
    const stopping = new AbortController()
    const stuck = latch()
    async function* source(): Bytes {
      yield packed(compression).subarray(0, 40)
      await stuck.opened
    }
    const work = collected(opened(source(), compression, { signal: stopping.signal }))
    setTimeout(() => stopping.abort(new Error('enough')), 20)
    assert.match(await work.then(String, String), 'enough')
    await untilThreads(before)
    stuck.open()
  })

  unpacking(`${compression}: a slow reader holds back the source`, async () => {
    const source = repeated(packed(compression, 'zeros'), 100)
    const bytes = opened(source.bytes(), compression)
    let taken = 0
    for (let reads = 0; reads < 4; reads++) {
      taken += (await bytes.next()).value?.length ?? 0
      await pause(100)
      // What is under way are three files that wait, and pieces of the one being unpacked.
      const ahead = source.given - taken / zerosBytes
      assert.ok(ahead <= 5, `${source.given} files given, ${taken} bytes taken`)
    }
    await bytes.return()
    assert.ok(source.given < 100)
  })

  unpacking(`${compression}: memory does not grow with the size of what comes out`, async () => {
    const run = (times: number) =>
      countOf(opened(repeated(packed(compression, 'zeros'), times).bytes(), compression))
    await run(4)
    const before = process.memoryUsage().rss
    let peak = before
    const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 20)
    assert.is(await run(64), 64 * zerosBytes)
    clearInterval(timer)
    const grown = Math.max(peak, process.memoryUsage().rss) - before
    assert.ok(grown < 96 * mebibyte, `grew by ${grown} bytes over ${64 * zerosBytes}`)
  })

  unpacking(`${compression}: a bomb is refused soon after it begins to grow`, async () => {
    const limits = { ratioMax: 500, ratioFromBytes: mebibyte }
    const source = repeated(packed(compression, 'zeros'), 1000)
    const error = await failure(collected(opened(source.bytes(), compression, { limits })))
    assert.equal([error.code, error.reason], ['failed_precondition', 'unsafe_image'])
    assert.match(error.message, /over 500 times as many.*send the image itself/)
    assert.ok(source.given < 10, `${source.given} files were read`)
    const calm = { ratioMax: 1_000_000, ratioFromBytes: mebibyte }
    const few = repeated(packed(compression, 'zeros'), 3)
    assert.is(await countOf(opened(few.bytes(), compression, { limits: calm })), 3 * zerosBytes)
  })

  unpacking(
    `${compression}: what is over the size limit is refused soon, and not before`,
    async () => {
      const sizeMax = 2 * zerosBytes
      const source = repeated(packed(compression, 'zeros'), 1000)
      const error = await failure(collected(opened(source.bytes(), compression, { sizeMax })))
      assert.equal([error.code, error.reason], ['invalid_argument', 'too_large'])
      assert.match(error.message, `MAX_IMAGE_SIZE is ${sizeMax}`)
      assert.is(error.expected, String(sizeMax))
      assert.ok(source.given < 10, `${source.given} files were read`)
      const fits = repeated(packed(compression, 'zeros'), 2)
      assert.is(await countOf(opened(fits.bytes(), compression, { sizeMax })), sizeMax)
    },
  )
}

unpacking('the limits that are set refuse a bomb after a gibibyte', async () => {
  const source = repeated(packed('zstd', 'zeros'), 10_000)
  const error = await failure(countOf(opened(source.bytes(), 'zstd')))
  assert.is(error.reason, 'unsafe_image')
  assert.match(error.message, /\d+ packed bytes have become 1\d{9}, over 500 times/)
  const gibibyte = repeated(packed('zstd', 'zeros'), 2 ** 30 / zerosBytes)
  assert.is(await countOf(opened(gibibyte.bytes(), 'zstd')), 2 ** 30)
})

unpacking('what is hard to compress comes through pieces whole', async () => {
  const body = content(5 * mebibyte + 17)
  const file = gzipSync(body, { level: 1 })
  assert.ok((await collected(opened(streamOf(file, 300_000), 'gzip'))).equals(body))
})

unpacking('many streams at once keep apart', async () => {
  const before = threads()
  await Promise.all(
    [...allCompressions, ...allCompressions].map(async (compression, index) => {
      const file = packed(compression)
      const body = await collected(opened(streamOf(file, 10 + index), compression))
      assert.ok(body.equals(sample), compression)
    }),
  )
  await untilThreads(before)
})

unpacking('what was aborted before is not begun', async () => {
  for (const compression of allCompressions) {
    const signal = AbortSignal.abort(new Error('enough'))
    const bytes = opened(streamOf(packed(compression)), compression, { signal })
    assert.match(await collected(bytes).then(String, String), 'enough')
  }
})

unpacking.run()
