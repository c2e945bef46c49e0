// A file as gzip without the work of compressing (RFC 1952): data goes as stored blocks, and only long runs
// of zeros as what zlib makes of them once. Images are mostly compressed inside or holes; a reader is as
// fast as the network.

import { crc32, constants, deflateRawSync } from 'node:zlib'
import type { Bytes } from '@backing-image/core'

/** RFC 1952 §2.3.1: deflate, no name, no time, made on Unix. */
const head = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])
/** RFC 1951 §3.2.4: a stored block has at most so many bytes. */
const storedBytesMax = 65_535
/** The run of zeros that is kept compressed; it ends on a byte, so that it can follow itself. */
const zeros = Buffer.alloc(64 * 1024)
const packedZeros = deflateRawSync(zeros, { finishFlush: constants.Z_FULL_FLUSH, level: 9 })
/** An empty stored block, the last one. */
const end = Buffer.from([1, 0, 0, 0xff, 0xff])

/** What reads of files bring at a time. */
const usualChunkBytes = 1024 * 1024
const headBytes = 5

/** Gzip of `bytes`. A chunk is valid until the next is asked for: all are made in the same memory. */
export async function* gzip(bytes: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  let checksum = 0
  let length = 0
  let memory = Buffer.allocUnsafeSlow(packedBytesMax(usualChunkBytes))
  yield head
  for await (const chunk of bytes) {
    length += chunk.length
    if (packedBytesMax(chunk.length) > memory.length) {
      memory = Buffer.allocUnsafeSlow(packedBytesMax(chunk.length))
    }
    let used = 0
    for (let at = 0; at < chunk.length;) {
      const rest = chunk.length - at
      if (rest >= zeros.length && zeros.compare(chunk, at, at + zeros.length) === 0) {
        used += packedZeros.copy(memory, used)
        checksum = checksumOfZerosAfter(checksum)
        at += zeros.length
        continue
      }
      const block = chunk.subarray(at, at + Math.min(storedBytesMax, rest))
      checksum = crc32(block, checksum)
      writeStoredHead(memory, used, block.length)
      memory.set(block, used + headBytes)
      used += headBytes + block.length
      at += block.length
    }
    if (used > 0) yield memory.subarray(0, used)
  }
  const tail = Buffer.alloc(8)
  tail.writeUInt32LE(checksum >>> 0, 0)
  tail.writeUInt32LE(length % 2 ** 32, 4)
  yield Buffer.concat([end, tail])
}

/** Zeros take less than the same as stored blocks. */
function packedBytesMax(chunkBytes: number): number {
  return chunkBytes + (Math.ceil(chunkBytes / storedBytesMax) + 1) * headBytes
}

/**
 * What `zeros` make of a checksum, by four tables, one for each of its bytes: a CRC is linear but for a
 * constant, so that what each bit becomes is enough, and nothing is read.
 */
function checksumOfZerosAfter(checksum: number): number {
  const [first, second, third, fourth] = zeroTables
  const one = (first?.[checksum & 0xff] ?? 0) ^ (second?.[(checksum >>> 8) & 0xff] ?? 0)
  const other = (third?.[(checksum >>> 16) & 0xff] ?? 0) ^ (fourth?.[checksum >>> 24] ?? 0)
  return (one ^ other ^ zerosChecksum) >>> 0
}

const zerosChecksum = crc32(zeros, 0)
const zeroTables = [0, 8, 16, 24].map((shift) => {
  const table = new Uint32Array(256)
  for (let bit = 0; bit < 8; bit += 1) {
    const change = crc32(zeros, (1 << (shift + bit)) >>> 0) ^ zerosChecksum
    for (let value = 0; value < 1 << bit; value += 1) {
      table[value + (1 << bit)] = (table[value] ?? 0) ^ change
    }
  }
  return table
})

/** RFC 1951 §3.2.4: not the last, stored, and its length twice. */
function writeStoredHead(memory: Buffer, at: number, sizeBytes: number): void {
  memory[at] = 0
  memory.writeUInt16LE(sizeBytes, at + 1)
  memory.writeUInt16LE(sizeBytes ^ 0xffff, at + 3)
}
