// Gzip without compressing: whatever the bytes and however they come, gunzip gives them back.

import { randomBytes, randomInt } from 'node:crypto'
import { gunzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { gzip } from './gzip.ts'
import { piecesOf } from './testing/disk-rig.ts'

const gzips = suite('gzip')
const border = 65_536

async function packed(content: Uint8Array, pieceBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  // Copied: all chunks are made in the same memory.
  for await (const chunk of gzip(piecesOf(content, pieceBytes))) chunks.push(Uint8Array.from(chunk))
  return Buffer.concat(chunks)
}

const sizes = [0, 1, 2, 511, 512, border - 2, border - 1, border, border + 1, 2 * border - 1]
for (const sizeBytes of [...sizes, 2 * border, 2 * border + 1, 5 * border + 3]) {
  gzips(`of ${sizeBytes} bytes or zeros is what it was`, async () => {
    for (const content of [randomBytes(sizeBytes), Buffer.alloc(sizeBytes)]) {
      for (const pieceBytes of [1000, border - 1, border, border + 1, 1024 * 1024]) {
        assert.ok(gunzipSync(await packed(content, pieceBytes)).equals(content))
      }
    }
  })
}

gzips('of any mix of zeros and data, in pieces of any size, is what it was', async () => {
  for (let round = 0; round < 60; round += 1) {
    const parts: Buffer[] = []
    for (let part = 0; part < randomInt(1, 8); part += 1) {
      const sizeBytes =
        [randomInt(1, 3 * border), border, border - 1, border + 1][randomInt(4)] ?? 1
      parts.push(randomInt(2) === 0 ? Buffer.alloc(sizeBytes) : randomBytes(sizeBytes))
    }
    const content = Buffer.concat(parts)
    const pieceBytes = randomInt(1, 4 * border)
    const unpacked = gunzipSync(await packed(content, pieceBytes))
    assert.ok(unpacked.equals(content), `${content.length} in pieces of ${pieceBytes}`)
  }
})

gzips('of holes is small, and of data hardly larger', async () => {
  const holes = Buffer.alloc(32 * 1024 * 1024)
  assert.is((await packed(holes, 1024 * 1024)).length < holes.length / 500, true)
  const data = randomBytes(4 * 1024 * 1024)
  assert.is((await packed(data, 1024 * 1024)).length < data.length * 1.001, true)
})

gzips('does not keep the memory that it was lent', async () => {
  const memory = new Uint8Array(1000)
  async function* lent(): AsyncGenerator<Uint8Array> {
    for (let value = 1; value <= 3; value += 1) yield memory.fill(value)
  }
  const chunks: Uint8Array[] = []
  for await (const chunk of gzip(lent())) chunks.push(Uint8Array.from(chunk))
  const expected = Buffer.concat([1, 2, 3].map((value) => Buffer.alloc(1000, value)))
  assert.ok(gunzipSync(Buffer.concat(chunks)).equals(expected))
})

gzips('ends as its source does', async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield randomBytes(1000)
    throw new Error('EIO')
  }
  let error: unknown
  try {
    for await (const chunk of gzip(broken())) void chunk
  } catch (thrown) {
    error = thrown
  }
  assert.is((error as Error).message, 'EIO')
})

gzips.run()
