// Each decoder takes all that its format may hold, several files in a row too, and nothing that is
// damaged, cut off or followed by something else: it fails instead of ending.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { unpackBzip2 } from './bzip2.ts'
import { type Compression, compressionOf, sniff } from '../compression.ts'
import { ImageError } from '../errors.ts'
import { unpackGzip } from './gzip.ts'
import { isoImage, rawImage } from '../testing/images.ts'
import {
  allCompressions,
  packed,
  refused,
  sample,
  smallImage,
  variants,
} from '../testing/packed.ts'
import { failure, latch, streamOf } from '../testing/rig.ts'
import { unpackXz } from './xz.ts'
import { loadZstd, unpackZstd } from './zstd.ts'

const decoding = suite('decoders')
const never = new AbortController().signal
const zstd = await loadZstd()

async function unpacked(compression: Compression, file: Uint8Array): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  const parts = [file.subarray(0, 300), file.subarray(300)].filter((part) => part.length > 0)
  const bytes = {
    gzip: () => unpackGzip(streamOf(file, 300), never),
    xz: () => unpackXz(parts),
    zstd: () => unpackZstd(zstd, parts),
    bzip2: () => unpackBzip2(parts),
  }
  for await (const chunk of bytes[compression]()) chunks.push(Uint8Array.from(chunk))
  return Buffer.concat(chunks)
}

/** What may stand before, between and behind the files of a format. */
const fillings: Record<Compression, { between: Buffer[]; behind: Buffer[] }> = {
  gzip: { between: [], behind: [Buffer.alloc(1), Buffer.alloc(1000)] },
  xz: { between: [Buffer.alloc(4), Buffer.alloc(1000)], behind: [Buffer.alloc(8)] },
  zstd: { between: [skippable(0), skippable(1000)], behind: [skippable(3)] },
  bzip2: { between: [], behind: [] },
}

/** RFC 8878 §3.1.2. */
function skippable(length: number): Buffer {
  const frame = Buffer.alloc(8 + length, 'x')
  frame.writeUInt32LE(0x184d2a53, 0)
  frame.writeUInt32LE(length, 4)
  return frame
}

for (const compression of allCompressions) {
  decoding(
    `${compression}: the programs' own files are unpacked, whatever their options`,
    async () => {
      assert.ok((await unpacked(compression, packed(compression))).equals(sample))
      assert.ok(variants(compression).length > 0)
      for (const [name, file] of variants(compression)) {
        assert.is((await unpacked(compression, file)).toString(), smallImage, name)
      }
    },
  )

  decoding(`${compression}: several files in a row are unpacked one after the other`, async () => {
    const file = packed(compression)
    const [, small] = variants(compression)[0] ?? []
    assert.ok(small)
    const expected = Buffer.concat([sample, Buffer.from(smallImage), sample])
    const { between, behind } = fillings[compression]
    for (const filling of [Buffer.alloc(0), ...between]) {
      for (const end of [Buffer.alloc(0), ...behind]) {
        const all = Buffer.concat([file, filling, small, filling, file, end])
        assert.ok((await unpacked(compression, all)).equals(expected))
      }
    }
  })

  decoding(`${compression}: a file that is cut off anywhere is refused`, async () => {
    const [, small] = variants(compression)[0] ?? []
    assert.ok(small)
    const file = packed(compression)
    for (let length = 1; length < file.length; length++) {
      const error = await failure(unpacked(compression, file.subarray(0, length)))
      assert.equal([error.code, error.reason], ['data_loss', 'unsupported_format'])
      assert.match(error.message, 'is cut off', `after ${length} bytes`)
      assert.match(error.message, `${compression} -t`)
    }
    for (let length = 1; length < small.length; length++) {
      const both = Buffer.concat([file, small.subarray(0, length)])
      const error = await failure(unpacked(compression, both))
      assert.match(error.message, 'is cut off', `after ${length} bytes of the second`)
    }
  })

  decoding(`${compression}: a bit that is wrong anywhere changes no byte unnoticed`, async () => {
    const file = packed(compression)
    let noticed = 0
    for (let at = 0; at < file.length; at++) {
      const wrong = Buffer.from(file)
      wrong[at] = (file[at] ?? 0) ^ (1 << (at % 8))
      const found = await unpacked(compression, wrong).catch((error: unknown) => error)
      noticed += found instanceof ImageError ? 1 : 0
      // A bit that means nothing here, such as one of a gzip header's time.
      if (Buffer.isBuffer(found)) assert.ok(found.equals(sample), `byte ${at} is wrong`)
      else assert.instance(found, ImageError, `byte ${at}: ${String(found)}`)
    }
    assert.ok(noticed > file.length - 20, `${noticed} of ${file.length}`)
  })

  decoding(`${compression}: something else behind the end is refused`, async () => {
    const others = ['x', 'other bytes', 'x'.repeat(5000), `${'\0'.repeat(1024)}x`]
    for (const other of others) {
      const file = Buffer.concat([packed(compression), Buffer.from(other)])
      const error = await failure(unpacked(compression, file))
      assert.match(error.message, /other bytes behind its end|something else behind its end/)
    }
  })

  decoding(`${compression}: a file that asks for too much is refused with a way out`, async () => {
    for (const [name, file] of refused(compression)) {
      const error = await failure(unpacked(compression, file))
      assert.equal([error.code, error.reason], ['invalid_argument', 'unsupported_format'], name)
      assert.match(error.message, `${compression} -dc`, name)
    }
    assert.is(refused(compression).length > 0, compression === 'xz' || compression === 'zstd')
  })

  decoding(`${compression}: its first bytes tell it, and no others`, async () => {
    const file = packed(compression)
    for (const chunkBytes of [1, 3, 9, 10, 4000]) {
      const sniffed = await sniff(streamOf(file, chunkBytes), never)
      assert.is(sniffed.compression, compression)
      const chunks: Uint8Array[] = []
      for await (const chunk of sniffed.bytes()) chunks.push(Uint8Array.from(chunk))
      assert.ok(Buffer.concat(chunks).equals(file))
    }
    assert.is(compressionOf(file.subarray(1)), undefined)
    assert.is(compressionOf(file.subarray(0, 2)), undefined)
  })
}

decoding('what is not compressed, empty or short is not taken for it', async () => {
  for (const body of [rawImage(), isoImage(), Buffer.alloc(0), Buffer.from('BZh9')]) {
    assert.is((await sniff(streamOf(body), never)).compression, undefined)
  }
})

decoding('a source that was only looked at is let go of', async () => {
  let isOver = false
  async function* source(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield packed('xz')
    } finally {
      isOver = true
    }
  }
  const unread = await sniff(source(), never)
  await unread.close()
  assert.ok(isOver)
  isOver = false
  const left = await sniff(source(), never)
  for await (const chunk of left.bytes()) {
    assert.ok(chunk.length > 0 && !isOver)
    break
  }
  assert.ok(isOver)
})

decoding(
  'who looks at a source that is stuck can be called away, and it is let go of later',
  async () => {
    const [stuck, isOver] = [latch(), latch()]
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        await stuck.opened
        yield packed('xz')
      } finally {
        isOver.open()
      }
    }
    const calling = new AbortController()
    const looking = sniff(source(), calling.signal)
    setTimeout(() => calling.abort(new Error('enough')), 5)
    assert.match(await looking.then(String, String), 'enough')
    stuck.open()
    await isOver.opened
  },
)

decoding('bzip2: an empty file has no bytes', async () => {
  const file = Buffer.from('425a683917724538509000000000', 'hex')
  assert.is((await unpacked('bzip2', file)).length, 0)
})

decoding('bzip2: a run whose length grows over all numbers is refused', async () => {
  const fields: [value: number, bits: number][] = [
    ...[0x425a68, 0x39, 0x314159, 0x265359].map((value): [number, number] => [
      value,
      value > 255 ? 24 : 8,
    ]),
    [0, 24],
    [0, 8],
    [0, 1],
    [0, 24], // CRC, not randomised, origin
    [0x8000, 16],
    [0x8000, 16], // one range, and one byte in it
    [2, 3],
    [20, 15], // two codes, twenty groups of fifty symbols
    ...Array.from({ length: 20 }, (): [number, number] => [0, 1]),
    // Twice: a length of 1 for the first symbol, and of 2 for the two others.
    [1, 5],
    [0, 1],
    [2, 2],
    [0, 1],
    [0, 1],
    [1, 5],
    [0, 1],
    [2, 2],
    [0, 1],
    [0, 1],
  ]
  const bits = fields.map(([value, count]) => value.toString(2).padStart(count, '0')).join('')
  const zeros = '0'.repeat(1000)
  const text = `${bits}${zeros}`.match(/.{8}/g) ?? []
  const file = Buffer.from(text.map((byte) => Number.parseInt(byte, 2)))
  const error = await failure(unpacked('bzip2', file))
  assert.match(error.message, 'longer than its level')
})

decoding.run()
