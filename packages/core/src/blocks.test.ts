// The block index is right for every way of cutting a stream, and what is none is refused.

import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { BlockHash, BlockIndex, blockBytes, blockCount, blockEntryBytes } from './blocks.ts'
import { isImageError } from './errors.ts'
import { Hasher } from './hasher.ts'
import { content } from './testing/conformance/case.ts'
import { randomFrom, streamOf } from './testing/rig.ts'

const blocks = suite('blocks')
const hasher = new Hasher()

blocks.after(async () => await hasher.close())

const mebibyte = 1024 * 1024

/** The index, made in the plainest way. */
function expectedOf(body: Buffer): Buffer {
  const entries = []
  for (let at = 0; at < body.length; at += blockBytes) {
    const block = body.subarray(at, at + blockBytes)
    const digest = createHash('sha256').update(block).digest()
    entries.push(digest, Buffer.from([block.every((byte) => byte === 0) ? 1 : 0]))
  }
  return Buffer.concat(entries)
}

function madeOf(body: Buffer, cuts: () => number): Buffer {
  const hash = new BlockHash()
  for (let at = 0; at < body.length;) {
    const length = cuts()
    hash.update(body.subarray(at, at + length))
    at += length
  }
  return Buffer.from(hash.digest())
}

/** Zeros with some bytes in between, each at a place that is easily got wrong. */
function bodies(): Map<string, Buffer> {
  const spotted = Buffer.alloc(6 * blockBytes + 5)
  for (const at of [blockBytes, 3 * blockBytes - 1, 3 * blockBytes + mebibyte]) spotted[at] = 1
  const lastBit = Buffer.alloc(2 * blockBytes + 3)
  lastBit[lastBit.length - 1] = 0x80
  return new Map([
    ['nothing', Buffer.alloc(0)],
    ['one byte', Buffer.from('x')],
    ['one zero', Buffer.alloc(1)],
    ['a block', content(blockBytes)],
    ['a block and a byte', content(blockBytes + 1)],
    ['blocks and a rest', content(3 * blockBytes - 7)],
    ['a block of zeros', Buffer.alloc(blockBytes)],
    ['zeros and a rest of them', Buffer.alloc(2 * blockBytes + 12_345)],
    ['zeros with spots', spotted],
    ['zeros but for the last bit', lastBit],
    ['zeros, then data', Buffer.concat([Buffer.alloc(blockBytes + 9), content(blockBytes)])],
  ])
}

for (const [what, body] of bodies()) {
  blocks(`${what}: the index is that of the plainest way, however the stream is cut`, () => {
    const seed = Date.now() % 1_000_000
    const random = randomFrom(seed)
    const expected = expectedOf(body)
    const widths = [mebibyte, blockBytes, 5 * blockBytes, 65_536, 999_983]
    for (const width of widths) {
      assert.ok(madeOf(body, () => width).equals(expected), `chunks of ${width}`)
    }
    const cuts = (): number => 1 + Math.floor(random() * 2 * mebibyte)
    assert.ok(madeOf(body, cuts).equals(expected), `seed ${seed}`)
  })

  blocks(`${what}: the threads make the same index beside the digests`, async () => {
    const stream = hasher.digest(streamOf(body, 100_003), ['sha512', 'sha256', 'blocks'])
    for await (const piece of stream.bytes) void piece
    const hex = (algorithm: string): string => createHash(algorithm).update(body).digest('hex')
    assert.equal(await stream.digests(), { sha512: hex('sha512'), sha256: hex('sha256') })
    assert.ok(expectedOf(body).equals(stream.blocks()))
  })

  blocks(`${what}: an index that was kept tells of every block`, () => {
    const index = BlockIndex.parse(expectedOf(body), body.length)
    assert.is(index.count, blockCount(body.length))
    assert.is(index.count, Math.ceil(body.length / blockBytes))
    let at = 0
    for (let block = 0; block < index.count; block++) {
      const bytes = body.subarray(at, at + blockBytes)
      assert.equal([index.offset(block), index.length(block)], [at, bytes.length])
      assert.is(index.sha256(block), createHash('sha256').update(bytes).digest('hex'))
      assert.is(
        index.isZero(block),
        bytes.every((byte) => byte === 0),
      )
      assert.ok(index.isGood(block, bytes))
      const wrong = Buffer.from(bytes)
      wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1
      assert.not.ok(index.isGood(block, wrong))
      assert.not.ok(index.isGood(block, bytes.subarray(1)))
      at += bytes.length
    }
    assert.is(at, body.length)
    assert.ok(expectedOf(body).equals(index.format()))
  })
}

blocks('an index that was not wanted is not there, and costs the others nothing', async () => {
  const stream = hasher.digest(streamOf(Buffer.from('x')), ['sha512', 'sha256'])
  for await (const piece of stream.bytes) void piece
  await stream.digests()
  assert.throws(() => stream.blocks(), /was not made/)
})

blocks('of many blocks none is lost when the index grows', () => {
  const hash = new BlockHash()
  const block = Buffer.alloc(blockBytes)
  for (let count = 0; count < 300; count++) hash.update(block)
  const index = BlockIndex.parse(hash.digest(), 300 * blockBytes)
  for (let each = 0; each < 300; each++) assert.ok(index.isZero(each))
})

function refused(work: () => unknown, pattern: RegExp): void {
  assert.throws(
    work,
    (error: unknown) => isImageError(error, 'data_loss') && pattern.test(`${error}`),
  )
}

blocks('an index that does not fit the image is refused', () => {
  const kept = expectedOf(content(2 * blockBytes))
  BlockIndex.parse(kept, 2 * blockBytes)
  BlockIndex.parse(kept, blockBytes + 1)
  for (const size of [0, 1, blockBytes, 2 * blockBytes + 1]) {
    refused(() => BlockIndex.parse(kept, size), /66 bytes is not one of/)
  }
  refused(() => BlockIndex.parse(kept.subarray(1), 2 * blockBytes), /65 bytes is not one of 2/)
})

blocks('an entry that calls zeros what is none is refused', () => {
  const [full, short] = [blockBytes, 17]
  for (const size of [full, short]) {
    const kept = expectedOf(Buffer.alloc(size))
    assert.ok(BlockIndex.parse(kept, size).isZero(0))
    // The zeros of another length have another digest.
    refused(() => BlockIndex.parse(kept, size - 1), /Block 0 .* all zeros/)
    kept[0] = (kept[0] ?? 0) ^ 1
    refused(() => BlockIndex.parse(kept, size), /Block 0 .* all zeros/)
  }
  const odd = expectedOf(content(10))
  for (const flag of [1, 2, 255]) {
    odd[blockEntryBytes - 1] = flag
    refused(() => BlockIndex.parse(odd, 10), /Block 0/)
  }
})

blocks('a part of an index knows its blocks by their numbers, and no others', () => {
  const body = content(4 * blockBytes + 5)
  const kept = expectedOf(body)
  const part = { first: 2, count: 3 }
  const bytes = kept.subarray(2 * blockEntryBytes)
  const index = BlockIndex.parse(bytes, body.length, part)
  const whole = BlockIndex.parse(kept, body.length)
  for (const block of [2, 3, 4]) assert.is(index.sha256(block), whole.sha256(block))
  assert.is(index.length(4), 5)
  for (const block of [0, 1, 5, -1, 2.5])
    assert.throws(() => index.sha256(block), /not in this part/)
  refused(() => BlockIndex.parse(bytes, body.length, { first: 2, count: 2 }), /99 bytes/)
})

blocks.run()
