// The ring of shared pieces gives the right bytes and digests for every way of cutting a stream,
// and lets go of everything however a stream ends.

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Bytes } from './backend.ts'
import { type Algorithm, algorithms } from './checksum.ts'
import { Hasher } from './hasher.ts'
import { pieceBytes } from './ring.ts'
import { content } from './testing/conformance/case.ts'
import { latch, streamOf } from './testing/rig.ts'

const hashing = suite('hasher')
const hasher = new Hasher()

hashing.after(async () => await hasher.close())

const mebibyte = 1024 * 1024

function expected(body: Uint8Array, wanted: readonly Algorithm[]): Record<string, string> {
  return Object.fromEntries(
    wanted.map((algorithm) => [algorithm, createHash(algorithm).update(body).digest('hex')]),
  )
}

async function collected(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) {
    assert.ok(chunk.length > 0 && chunk.length <= pieceBytes, `a piece of ${chunk.length} bytes`)
    // The piece is used again.
    chunks.push(Uint8Array.from(chunk))
  }
  return Buffer.concat(chunks)
}

async function assertHashed(body: Buffer, source: Bytes, what: string): Promise<void> {
  const stream = hasher.digest(source, algorithms)
  assert.ok((await collected(stream.bytes)).equals(body), `${what}: the bytes`)
  assert.equal(await stream.digests(), expected(body, algorithms), what)
}

for (const size of [0, 1, 1000, 65536, mebibyte - 1, mebibyte, mebibyte + 1, 5 * mebibyte]) {
  for (const chunkBytes of [1, 65536, mebibyte - 1, mebibyte, mebibyte + 1, 5 * mebibyte]) {
    if (size > 2000 && chunkBytes === 1) continue
    hashing(
      `${size} bytes in chunks of ${chunkBytes} have the digests of node:crypto`,
      async () => {
        const body = content(size)
        await assertHashed(body, streamOf(body, chunkBytes), 'alone')
      },
    )
  }
}

hashing('empty chunks change nothing', async () => {
  async function* source(): Bytes {
    for (const text of ['', 'a', '', '', 'b', '']) yield Buffer.from(text)
  }
  await assertHashed(Buffer.from('ab'), source(), 'with empty chunks')
})

hashing('many streams at once on two threads keep apart', async () => {
  await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const body = content(100_000 + index * 7001, index + 1)
      await assertHashed(body, streamOf(body, 1000 + index * 997), `stream ${index}`)
    }),
  )
})

hashing('a source may overwrite its chunk when it is asked for the next', async () => {
  const body = content(3 * mebibyte + 17)
  async function* source(): Bytes {
    const buffer = Buffer.alloc(70_001)
    for (let at = 0; at < body.length; at += buffer.length) {
      const length = body.copy(buffer, 0, at)
      yield buffer.subarray(0, length)
      buffer.fill(0xff)
    }
  }
  await assertHashed(body, source(), 'overwritten')
})

hashing('the error of a source comes through unchanged, after the bytes before it', async () => {
  for (const size of [0, 5, 70_000, mebibyte, 2 * mebibyte + 5, 6 * mebibyte]) {
    const body = content(size)
    const broken = new Error('the source broke')
    async function* source(): Bytes {
      yield* streamOf(body, 65_536)
      throw broken
    }
    const stream = hasher.digest(source(), ['sha512', 'sha256'])
    const chunks: Uint8Array[] = []
    let found: unknown
    try {
      for await (const chunk of stream.bytes) chunks.push(Uint8Array.from(chunk))
    } catch (error) {
      found = error
    }
    assert.is(found, broken)
    assert.ok(Buffer.concat(chunks).equals(body), `the ${size} bytes before the error`)
  }
})

hashing('a source that can not even begin fails the stream', async () => {
  const broken = new Error('no iterator')
  const source: Bytes = {
    [Symbol.asyncIterator]: () => {
      throw broken
    },
  }
  const stream = hasher.digest(source, ['sha512'])
  assert.is(await stream.bytes.next().catch((error: unknown) => error), broken)
})

/** Ends the stream after its first piece. Resolves once the source's own clean-up has run too. */
async function stopEarly(on: Hasher, chunk: Uint8Array): Promise<void> {
  const returned = latch()
  async function* source(): Bytes {
    try {
      for (;;) yield chunk
    } finally {
      returned.open()
    }
  }
  for await (const piece of on.digest(source(), ['sha512', 'sha256']).bytes) {
    assert.ok(piece.length > 0)
    break
  }
  await returned.opened
}

hashing('readers that stop early leave no memory and no threads behind', async () => {
  const own = new Hasher()
  const chunks = Array.from({ length: 10 }, (_, index) => content(50_000 * (index + 1)))
  const round = () => Promise.all(chunks.map((chunk) => stopEarly(own, chunk)))
  await round()
  const before = process.memoryUsage().rss
  for (let rounds = 0; rounds < 19; rounds++) await round()
  const grownBytes = process.memoryUsage().rss - before
  // One piece a stream would be 190 MiB.
  assert.ok(grownBytes < 64 * mebibyte, `grew by ${grownBytes} bytes`)
  const body = content(2 * mebibyte + 1)
  const stream = own.digest(streamOf(body, 65_536), ['sha512', 'sha256'])
  await collected(stream.bytes)
  assert.equal(await stream.digests(), expected(body, ['sha512', 'sha256']))
  await own.close()
})

hashing('slow readers never make their sources run more than some pieces ahead', async () => {
  const own = new Hasher()
  const streams = 8
  const chunk = content(256 * 1024)
  let [given, taken] = [0, 0]
  async function* source(): Bytes {
    for (let count = 0; count < 128; count++) {
      given += chunk.length
      yield chunk
    }
  }
  async function read(aheadMax: number, mebibytes: number): Promise<void> {
    const stream = own.digest(source(), ['sha512', 'sha256'])
    let passed = 0
    for await (const piece of stream.bytes) {
      taken += piece.length
      passed += piece.length
      if (passed <= mebibytes * mebibyte) await pause(20)
      // A chunk of each stream is on its way into a piece.
      assert.ok(given - taken <= aheadMax * mebibyte, `${given} given, ${taken} taken`)
    }
  }
  // One alone may use what a few need anyway; many have three each.
  await read(18, 4)
  ;[given, taken] = [0, 0]
  await Promise.all(Array.from({ length: streams }, () => read(streams * 4 + 16, 4)))
  assert.is(taken, streams * 32 * mebibyte)
  await own.close()
})

hashing('a reader that waits for a stuck source gets the first byte when it comes', async () => {
  const stuck = latch()
  async function* source(): Bytes {
    await stuck.opened
    yield Buffer.from('late')
  }
  const stream = hasher.digest(source(), ['sha256'])
  const first = stream.bytes.next()
  await pause(10)
  stuck.open()
  assert.is(Buffer.from((await first).value ?? []).toString(), 'late')
  assert.is((await stream.bytes.next()).done, true)
  assert.equal(await stream.digests(), expected(Buffer.from('late'), ['sha256']))
})

hashing('closing the hasher fails the streams that still need it', async () => {
  const own = new Hasher()
  const stream = own.digest(streamOf(content(10)), ['sha512'])
  await collected(stream.bytes)
  await own.close()
  const error: unknown = await stream.digests().catch((problem: unknown) => problem)
  assert.match(String(error), 'A hash thread has ended')
})

hashing('idle threads do not hold the process open', async () => {
  // A file, for a thread takes over what `node -e` was started with.
  const folder = await mkdtemp(join(tmpdir(), 'hasher-'))
  const program = join(folder, 'program.mjs')
  await writeFile(
    program,
    `import { Hasher } from ${JSON.stringify(new URL('./hasher.js', import.meta.url).href)}
    async function* source() { yield Buffer.from('abc') }
    const stream = new Hasher().digest(source(), ['sha512', 'sha256'])
    for await (const piece of stream.bytes) void piece
    console.log((await stream.digests()).sha256)
    for await (const piece of new Hasher().digest(source(), ['sha512']).bytes) break
    void new Hasher().digest(source(), ['sha512']).bytes.next()`,
  )
  const child = spawn(process.execPath, [program])
  let output = ''
  child.stdout.on('data', (data: Buffer) => (output += data.toString()))
  child.stderr.on('data', (data: Buffer) => (output += data.toString()))
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(timer)
  await rm(folder, { recursive: true })
  assert.is(output.trim(), createHash('sha256').update('abc').digest('hex'))
  assert.is(code, 0)
})

hashing.run()
