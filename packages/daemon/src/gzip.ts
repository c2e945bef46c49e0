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

/** Gzip of `bytes`, in memory of its own. */
export async function* gzip(bytes: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  let checksum = 0
  let length = 0
  yield head
  for await (const chunk of bytes) {
    checksum = crc32(chunk, checksum)
    length += chunk.length
    yield Buffer.concat([...blocksOf(chunk)])
  }
  const tail = Buffer.alloc(8)
  tail.writeUInt32LE(checksum >>> 0, 0)
  tail.writeUInt32LE(length % 2 ** 32, 4)
  yield Buffer.concat([end, tail])
}

function* blocksOf(chunk: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < chunk.length;) {
    const rest = chunk.length - at
    if (rest >= zeros.length && zeros.compare(chunk, at, at + zeros.length) === 0) {
      yield packedZeros
      at += zeros.length
      continue
    }
    const size = Math.min(storedBytesMax, rest)
    yield storedHead(size)
    yield chunk.subarray(at, at + size)
    at += size
  }
}

/** RFC 1951 §3.2.4: not the last, stored, and its length twice. */
function storedHead(sizeBytes: number): Buffer {
  const block = Buffer.alloc(5)
  block.writeUInt16LE(sizeBytes, 1)
  block.writeUInt16LE(sizeBytes ^ 0xffff, 3)
  return block
}
