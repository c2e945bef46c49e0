// Frames of other programs, our own, and what is none.

import { createHash, randomBytes } from 'node:crypto'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { compressLz4, decompressLz4 } from './lz4.ts'
import { xxHash32 } from './xx-hash.ts'

const lz4 = suite('lz4')

const blockBytes = 2 * 1024 * 1024
/** `line 0`, `line 1`, …: some kilobytes more than the smallest blocks of a frame have. */
const text = Array.from(
  { length: 12_000 },
  (_, index) => `line ${(index % 7) * (index % 3)}\n`,
).join('')

/** A run of bytes 0xff in base64. */
const ones = (count: number): string => '/'.repeat(count)
/** That text, as made by other programs. */
const frames: Record<string, string> = {
  'of lz4(1), blocks that refer to one another, every checksum there is, and the size': `BCJNGFxAl0wBAAAAAABzQQEAAHFsaW5lIDAKBwASMQcAKDQKFQADDgATMQ8ACgcAGTIOABIzBwAZOBUAHzY4AAgKHAATNWoALzIKlQD${ones(341)}U1BsaW5lILs+ABBWAAAAD5UA${ones(101)}8tQbmUgMgqiK2/8AAAAABWiJaw=`,
  'of lz4(1), without a checksum of the content': `BCJNGGBQ+50BAABxbGluZSAwCgcAEjEHABI0BwADFQADDgATMQ8ACgcAGTIrABIzDgASOAcAAyoAGTYOAAMVAAM4AAocABI1KgATMR0AAysAD5UA${ones(444)}K1BuZSAyCgAAAAA=`,
  'of a writer in Go': `BCJNGGRwubABAADSbGluZSAwCmxpbmUgMQcAEjQHAAMVAAMOABMxDwAKBwAZMg4AEjMOABI4BwADKgASNgcAAw4AAwcAAzgAChwAEjUOABMxHQADKwAPlQD${ones(443)}8e8ANlIDAKbGluZSAwCmxpbmUgMgoAAAAAFaIlrA==`,
}

lz4('what its checksum is made of', () => {
  assert.is(xxHash32(Buffer.from('')), 0x02cc5d05)
  assert.is(xxHash32(Buffer.from('abc')), 0x32d153ff)
  assert.is(xxHash32(Buffer.from('Nobody inspects the spammish repetition')), 0xe2293b2f)
})

for (const [what, frame] of Object.entries(frames)) {
  lz4(`a frame ${what} is understood`, () => {
    const plain = decompressLz4(Buffer.from(frame, 'base64'), blockBytes)
    assert.is(Buffer.from(plain).toString(), text)
  })
}

/** What images have: nothing, noise, text, and all of them. */
function contents(): Uint8Array[] {
  const short = Array.from({ length: 40 }, (_, index) => Buffer.alloc(index, 'ab'))
  const mixed = Buffer.alloc(blockBytes)
  for (let at = 0; at < blockBytes; at += 70_000) {
    mixed.set(at % 140_000 === 0 ? randomBytes(9_000) : Buffer.from(text).subarray(0, 9_000), at)
  }
  return [...short, Buffer.alloc(blockBytes), randomBytes(blockBytes), Buffer.from(text), mixed]
}

lz4('what is compressed comes back, and takes hardly more than before', () => {
  for (const plain of contents()) {
    const frame = compressLz4(plain)
    assert.ok(frame.length <= plain.length + 32)
    const back = decompressLz4(frame, plain.length)
    assert.is(digest(back), digest(plain), `${plain.length} bytes`)
  }
  assert.ok(compressLz4(Buffer.alloc(blockBytes)).length < blockBytes / 200)
  assert.ok(compressLz4(Buffer.from(text)).length < text.length / 100)
})

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

lz4('no more comes out than is allowed, however much is in', () => {
  const bomb = compressLz4(new Uint8Array(4 * 1024 * 1024))
  assert.throws(() => decompressLz4(bomb, blockBytes), /more than is expected/)
  const stored = compressLz4(randomBytes(100))
  assert.throws(() => decompressLz4(stored, 99), /more than is expected/)
})

lz4('a frame that is cut off anywhere is none', () => {
  const frame = compressLz4(Buffer.from(text.slice(0, 500)))
  for (let length = 0; length < frame.length; length += 1) {
    assert.throws(() => decompressLz4(frame.subarray(0, length), blockBytes), isDamaged)
  }
  assert.throws(() => decompressLz4(Buffer.concat([frame, Buffer.of(0)]), blockBytes), isDamaged)
})

function isDamaged(error: unknown): boolean {
  return isImageError(error, 'data_loss')
}

lz4('garbage never does more than to be refused', () => {
  const frame = compressLz4(Buffer.from(text.slice(0, 4_000)))
  let refused = 0
  for (let round = 0; round < 20_000; round += 1) {
    const broken = Buffer.from(frame)
    const [count = 0, ...noise] = randomBytes(9)
    for (let index = 0; index <= count % 4; index += 1) {
      // Behind the head, whose own checksum would refuse nearly everything.
      broken[7 + (((noise[index] ?? 0) << 2) % (broken.length - 7))] = noise[index + 4] ?? 0
    }
    try {
      assert.ok(decompressLz4(broken, 8_192).length <= 8_192)
    } catch (error) {
      if (!isDamaged(error)) throw error
      refused += 1
    }
  }
  assert.ok(refused > 10_000, `${refused} were refused`)
})

lz4.run()
