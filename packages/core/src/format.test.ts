// What the format inspector accepts, refuses and says; format-fuzz.test.ts has the random cases.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ImageError } from './errors.ts'
import { FormatInspector, inspect, type Inspection } from './format.ts'
import {
  hostileImages,
  isoImage,
  qcow2Header,
  qcow2Image,
  rawImage,
  vhdFooter,
  withBytes,
  type Qcow2Fields,
} from './testing/images.ts'

const format = suite('format')
const mebibyte = 1024 * 1024

function refusal(content: Uint8Array): ImageError {
  try {
    const verdict = inspect(content)
    throw new Error(`accepted as ${JSON.stringify(verdict)}`)
  } catch (error) {
    if (error instanceof ImageError) return error
    throw error
  }
}

format('sound images are told apart, with the size of the disk that a guest sees', () => {
  const cases: [string, Uint8Array, Inspection['format'], number][] = [
    ['a disk with a boot sector', rawImage(), 'raw', mebibyte],
    ['zeros', Buffer.alloc(mebibyte), 'raw', mebibyte],
    ['one byte', Buffer.from('x'), 'raw', 512],
    ['513 bytes', Buffer.alloc(513), 'raw', 1024],
    ['a LUKS volume', withBytes('LUKS\xba\xbe\0\x01'), 'raw', 4096],
    ['an ISO', isoImage(), 'iso', mebibyte],
    ['an ISO with a GPT', isoImage().fill('EFI PART', 512, 520), 'iso', mebibyte],
    ['an ISO with "ustar" in its boot code', isoImage().fill('ustar', 257, 262), 'iso', mebibyte],
    ['the smallest ISO head', isoImage(33280), 'iso', 33280],
    ['qcow2 version 3', qcow2Image(), 'qcow2', mebibyte],
    ['qcow2 version 2', qcow2Image({ version: 2 }), 'qcow2', mebibyte],
    ['a qcow2 header of 104 bytes', qcow2Image({ headerLength: 104 }), 'qcow2', mebibyte],
    ['qcow2 in clusters of 64 KiB', qcow2Image({ clusterBits: 16 }), 'qcow2', mebibyte],
    ['qcow2 in clusters of 2 MiB', qcow2Image({ clusterBits: 21, size: 512 }), 'qcow2', 512],
    [
      'qcow2 of 8 PiB less one sector',
      qcow2Image({ clusterBits: 21, size: 2n ** 53n - 512n }),
      'qcow2',
      2 ** 53 - 512,
    ],
    [
      'qcow2 with zstd',
      qcow2Image({ incompatibleFeatures: 8n, compressionType: 1 }),
      'qcow2',
      mebibyte,
    ],
    ['qcow2 with lazy reference counts', qcow2Image({ compatibleFeatures: 1n }), 'qcow2', mebibyte],
    [
      'qcow2 with unknown compatible features',
      qcow2Image({ compatibleFeatures: 2n ** 64n - 1n }),
      'qcow2',
      mebibyte,
    ],
    [
      'qcow2 with an unknown header extension',
      qcow2Image({ extensions: [{ type: 0x12345678, content: 'some text' }] }),
      'qcow2',
      mebibyte,
    ],
    ['qcow2 that begins as an ISO too', qcow2InIso(), 'qcow2', mebibyte],
  ]
  for (const [name, content, expected, virtualSize] of cases) {
    const { warnings, ...verdict } = inspect(content)
    assert.equal(verdict, { format: expected, virtualSize }, name)
    assert.is(warnings.length, content.length % 512 === 0 ? 0 : 1, `${name}: ${warnings.join(' ')}`)
  }
})

function qcow2InIso(): Buffer {
  const content = Buffer.alloc(64 * 1024)
  qcow2Image().copy(content)
  return content.fill('CD001', 32769, 32774)
}

format('what only resembles another format stays raw', () => {
  const oddFooter = vhdFooter()
  oddFooter.writeUInt32BE(0, 8)
  const cases: [string, Uint8Array][] = [
    ['gzip with reserved flags', withBytes('\x1f\x8b\x08\xff')],
    ['"BZh9" and other bytes', withBytes('BZh9 is how bzip2 begins')],
    ['"PK" and other bytes', withBytes('PKWARE')],
    ['a VHD cookie without a footer', Buffer.concat([rawImage(), withBytes('conectix', 0, 512)])],
    ['a VHD footer without its feature bit', Buffer.concat([rawImage(), oddFooter])],
    ['a VHD footer that is not at the end', Buffer.concat([rawImage(), vhdFooter(), rawImage()])],
    ['a page inside a disk', withBytes('<html>', 512)],
    ['"<htmlish"', withBytes('<htmlish>')],
    ['"#!" and other text', withBytes('#!/bin/sh\nversion 1\n')],
    ['"CD001" elsewhere', withBytes('CD001', 34817, mebibyte)],
  ]
  for (const [name, content] of cases) assert.is(inspect(content).format, 'raw', name)
})

format('every hostile image is refused with its reason and a sentence that helps', () => {
  const images = hostileImages()
  assert.ok(images.length > 90)
  assert.is(new Set(images.map(({ name }) => name)).size, images.length, 'names are unique')
  for (const { name, content, reason } of images) {
    const error = refusal(content)
    assert.is(error.reason, reason, `${name}: ${error.message}`)
    const code = reason === 'unsafe_image' ? 'failed_precondition' : 'invalid_argument'
    assert.is(error.code, code, name)
    assert.match(error.message, /^[A-Z][\x20-\x7e]+\.$/, name)
    assert.ok(error.message.length < 500, `${name}: ${error.message}`)
  }
})

format('a refusal names what was found and the command that helps', () => {
  const cases: [Uint8Array, RegExp][] = [
    [qcow2Image({ backingFile: '/etc/passwd' }), /backing file "\/etc\/passwd".*qemu-img convert/],
    [qcow2Image({ backingFile: 'a\0\n\x7f\u00e4"b' }), /backing file "a\?\?\?\?\?\\"b"/],
    [qcow2Image({ backingFile: 'x'.repeat(200) }), /backing file "x{80}\.\.\."/],
    [
      qcow2Image({
        incompatibleFeatures: 4n,
        extensions: [{ type: 0x44415441, content: '/dev/sda' }],
      }),
      /another file "\/dev\/sda"/,
    ],
    [qcow2Image({ incompatibleFeatures: 1n << 63n }), /feature bit 63,/],
    [qcow2Image({ incompatibleFeatures: (1n << 40n) | 32n }), /feature bit 5, 40,/],
    [qcow2Image({ cryptMethod: 2 }), /LUKS/],
    [
      qcow2Image({ l1TableOffset: 4096 }),
      /L1 table up to byte 4352, but the file ends at byte 2048/,
    ],
    [withBytes('\xfd7zXZ\0'), /xz -d FILE.*or send it with decompress=auto/],
    [withBytes('LZIP\x01'), /lzip -d FILE`\) and send the image itself\.$/],
    [withBytes('KDMV'), /qemu-img convert -f vmdk -O qcow2/],
    [Buffer.concat([rawImage(), vhdFooter()]), /qemu-img convert -f vpc -O qcow2/],
  ]
  for (const [content, expected] of cases) assert.match(refusal(content).message, expected)
})

format('what is odd but harmless is a warning, not a refusal', () => {
  const cases: [Partial<Qcow2Fields>, RegExp][] = [
    [{ incompatibleFeatures: 1n }, /dirty bit/],
    [{ incompatibleFeatures: 16n, clusterBits: 14 }, /QEMU before 5\.2/],
    [{ snapshots: 1, snapshotsOffset: 512 }, /1 internal snapshot,/],
    [{ snapshots: 2, snapshotsOffset: 512 }, /2 internal snapshots,/],
  ]
  for (const [overrides, expected] of cases) {
    const { format: found, warnings } = inspect(qcow2Image(overrides))
    assert.is(found, 'qcow2')
    assert.is(warnings.length, 1)
    assert.match(warnings[0] ?? '', expected)
  }
  const odd = [inspect(Buffer.alloc(1000)), inspect(Buffer.concat([qcow2Image(), Buffer.alloc(1)]))]
  for (const { warnings } of odd) {
    assert.is(warnings.length, 1)
    assert.match(warnings[0] ?? '', /truncate -s %512 FILE/)
  }
})

format('a qcow2 that is cut short is neither qcow2 nor raw', () => {
  for (const version of [2, 3]) {
    const image = qcow2Image({
      version,
      extensions: [{ type: 0x12345678, content: 'a'.repeat(40) }],
    })
    // The L1 table ends with the last 256 bytes that are in use.
    const needed = 1536 + 256
    for (let length = 4; length < needed; length += length < 200 ? 1 : 8) {
      assert.is(refusal(image.subarray(0, length)).reason, 'unsafe_image', `${length} bytes`)
    }
    assert.is(inspect(image.subarray(0, needed)).format, 'qcow2')
  }
})

format('what the head tells is thrown while bytes still pass, and again at the end', () => {
  const refused = [
    qcow2Image({ backingFile: '/etc/passwd' }),
    withBytes('\x1f\x8b\x08\0'),
    withBytes('<html>'),
  ]
  for (const content of refused) {
    const inspector = new FormatInspector()
    inspector.write(content)
    const rest = Buffer.alloc(mebibyte)
    assert.throws(
      () => inspector.write(rest),
      (error: unknown) => error instanceof ImageError,
    )
    inspector.write(rest)
    assert.throws(
      () => inspector.end(),
      (error: unknown) => error instanceof ImageError,
    )
  }
})

format('a table beyond the file is refused only when the file has ended', () => {
  const image = qcow2Image({ l1TableOffset: 128 * 1024 })
  const inspector = new FormatInspector()
  inspector.write(Buffer.concat([image, Buffer.alloc(128 * 1024 - image.length)]))
  assert.throws(() => inspector.end(), /L1 table up to byte 131328/)
  inspector.write(Buffer.alloc(512))
  assert.is(inspector.end().format, 'qcow2')
})

format('a header with as many extensions as fit is walked to its end', () => {
  const count = (65536 - 112) / 8 - 1
  const extensions = Array.from({ length: count }, () => ({ type: 1, content: '' }))
  assert.is(inspect(qcow2Image({ clusterBits: 16, extensions })).format, 'qcow2')
  extensions.push({ type: 1, content: '' })
  assert.is(refusal(qcow2Image({ clusterBits: 16, extensions })).reason, 'unsafe_image')
  // What lies beyond the head can not be looked at, so nothing may be declared there.
  const far = [{ type: 1, content: Buffer.alloc(70_000) }]
  assert.is(refusal(qcow2Image({ clusterBits: 20, extensions: far })).reason, 'unsafe_image')
})

format('shared memory can be looked at', () => {
  const shared = new Uint8Array(new SharedArrayBuffer(2048))
  shared.set(qcow2Image())
  assert.is(inspect(shared).format, 'qcow2')
})

format('the header helper alone is not a file that can be stored', () => {
  assert.is(refusal(qcow2Header()).reason, 'unsafe_image')
})

format.run()
