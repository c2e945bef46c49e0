// Random chunks, mutated headers and random bytes against the format inspector, from a seed that is
// printed and can be given again as FUZZ_SEED.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ImageError } from './errors.ts'
import { FormatInspector, inspect, type Inspection } from './format.ts'
import { hostileImages, isoImage, qcow2Image, rawImage, vhdFooter } from './testing/images.ts'

const format = suite('format fuzz')

const seed = Number(process.env['FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 32))
process.stdout.write(`FUZZ_SEED=${seed} `)

/** A small generator of numbers below `limit`, the same for the same seed (mulberry32). */
function randomFrom(start: number): (limit: number) => number {
  let state = start >>> 0
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
  }
}

/** The verdict as plain text, be it good or bad, to compare it with another. */
function verdictOf(chunks: Iterable<Uint8Array>): string {
  const inspector = new FormatInspector()
  try {
    for (const chunk of chunks) inspector.write(chunk)
    return JSON.stringify(inspector.end())
  } catch (error) {
    if (!(error instanceof ImageError)) throw error
    return `${error.code} ${error.reason} ${error.message}`
  }
}

function* cut(content: Uint8Array, lengths: Iterable<number>): Generator<Uint8Array> {
  let start = 0
  for (const length of lengths) {
    if (start >= content.length) return
    // Each chunk is overwritten after the call, as a ring of buffers does.
    const chunk = Uint8Array.from(content.subarray(start, start + length))
    yield chunk
    chunk.fill(0xee)
    start += length
  }
}

function* forever<T>(next: () => T): Generator<T> {
  for (;;) yield next()
}

format('the verdict does not depend on where the chunks are cut', () => {
  const random = randomFrom(seed)
  const contents = [
    qcow2Image(),
    qcow2Image({ clusterBits: 16 }),
    rawImage(70_001),
    isoImage(80_000),
    Buffer.concat([rawImage(66_000), vhdFooter()]),
    Buffer.concat([rawImage(1000), vhdFooter()]),
    vhdFooter(),
    ...hostileImages().map(({ content }) => content),
  ]
  for (const content of contents) {
    const whole = verdictOf([content])
    const longest = [2, 600, 5000, 100_000][random(4)] ?? 1
    const lengths = forever(() => random(longest + 1))
    assert.is(verdictOf(cut(content, lengths)), whole, `chunks of up to ${longest} bytes`)
    const short = content.subarray(0, 70_600)
    const bytes = cut(
      short,
      forever(() => 1),
    )
    assert.is(verdictOf(bytes), verdictOf([short]), 'chunks of one byte')
  }
})

const marks = [0, 1, 2, 3, 4, 8, 9, 16, 21, 22, 0x7f, 0x80, 0xff]
const extensionMarks = [0x44415441, 0x0537be77, 0xe2792aca, 0x6803f857, 0, 1]

/** Changes some fields or bytes of a header, mostly where they mean something. */
function mutate(content: Buffer, random: (limit: number) => number): Buffer {
  const mutant = Buffer.from(content)
  for (let left = 1 + random(4); left > 0; left -= 1) {
    const kind = random(6)
    const at = 4 + random(kind === 0 ? mutant.length - 12 : 140)
    if (kind <= 1) mutant[at] = random(256)
    else if (kind === 2) mutant[at] = marks[random(marks.length)] ?? 0
    else if (kind === 3) mutant.fill([0, 0xff][random(2)] ?? 0, at, at + 1 + random(8))
    else if (kind === 4) mutant[at] = (mutant[at] ?? 0) ^ (1 << random(8))
    else mutant.writeUInt32BE(extensionMarks[random(extensionMarks.length)] ?? 0, (at + 4) & ~7)
  }
  return random(10) === 0 ? mutant.subarray(0, random(mutant.length)) : mutant
}

/** Reads what makes a qcow2 file dangerous, in another way than the code under test. */
function isDangerous(content: Buffer): boolean {
  const version = content.readUInt32BE(4)
  const backing = content.subarray(8, 16).some((byte) => byte !== 0)
  const encrypted = content.readUInt32BE(32) !== 0
  if (backing || encrypted || (version !== 2 && version !== 3)) return true
  if (version === 3) {
    // Bits 0, 3 and 4 of the last byte may be set, and no other of the eight bytes.
    const unknown = content.subarray(72, 79).some((byte) => byte !== 0)
    if (unknown || ((content[79] ?? 0) & 0b11100110) !== 0) return true
  }
  let offset = version === 2 ? 72 : content.readUInt32BE(100)
  while (content.readUInt32BE(offset) !== 0) {
    if (content.toString('latin1', offset, offset + 4) === 'DATA') return true
    offset += 8 + ((content.readUInt32BE(offset + 4) + 7) & ~7)
  }
  return false
}

format('no mutation of a header is believed when it is dangerous, or ends in anything else', () => {
  const random = randomFrom(seed)
  const bases = [
    qcow2Image(),
    qcow2Image({ version: 2 }),
    qcow2Image({ headerLength: 104 }),
    qcow2Image({ incompatibleFeatures: 8n, compressionType: 1 }),
    qcow2Image({ clusterBits: 14, incompatibleFeatures: 17n, size: 2n ** 40n }),
    qcow2Image({ extensions: [{ type: 0x6803f857, content: Buffer.alloc(96) }] }),
    qcow2Image({ snapshots: 1, snapshotsOffset: 512 }),
    qcow2Image({ backingFile: '/etc/passwd' }),
  ]
  const verdicts = { accepted: 0, refused: 0 }
  for (let round = 0; round < 16_000; round += 1) {
    const content = mutate(bases[round % bases.length] ?? Buffer.alloc(0), random)
    const where = `FUZZ_SEED=${seed}, round ${round}: ${content.toString('hex', 0, 160)}`
    const found = attempt(content, where)
    if (!found) {
      verdicts.refused += 1
      continue
    }
    if (content.length < 4) continue
    verdicts.accepted += 1
    assert.is(found.format, 'qcow2', where)
    assert.is(isDangerous(content), false, where)
    assert.ok(found.virtualSize > 0 && found.virtualSize % 512 === 0, where)
  }
  // The fuzz is of use only while it meets both.
  assert.ok(verdicts.accepted > 500 && verdicts.refused > 500, JSON.stringify(verdicts))
})

format('no random bytes, and no random text behind a magic, end in anything but a verdict', () => {
  const random = randomFrom(seed ^ 0x5eed)
  const heads = hostileImages().map(({ content }) => content.subarray(0, 12))
  for (let round = 0; round < 6000; round += 1) {
    const content = Buffer.alloc(random(1500), 0)
    const text = round % 2 === 0
    for (let at = 0; at < content.length; at += 1) {
      content[at] = text ? (' \n\r\t#<!version=1ht'.codePointAt(random(18)) ?? 0) : random(256)
    }
    if (round % 3 === 0) content.set((heads[random(heads.length)] ?? []).slice(0, content.length))
    attempt(content, `FUZZ_SEED=${seed}, round ${round}: ${content.toString('hex', 0, 160)}`)
  }
})

/** The verdict, or nothing when it was refused as it should be. */
function attempt(content: Uint8Array, where: string): Inspection | undefined {
  try {
    const found = inspect(content)
    assert.ok(Number.isSafeInteger(found.virtualSize) && found.virtualSize >= 0, where)
    return found
  } catch (error) {
    assert.ok(error instanceof ImageError, `${where}: ${String(error)}`)
    return undefined
  }
}

format.run()
