// A block as it is stored: compressed in one of three ways. Backups share blocks, so that one may be
// stored otherwise than the backup says that asks for it; its checksum tells which way is right.

import { promisify } from 'node:util'
import { gunzip, gzip } from 'node:zlib'
import { ImageError } from '@backing-image/core'
import { blockBytes, checksumOf } from './layout.ts'
import { compressLz4, decompressLz4, isLz4 } from './lz4.ts'

export const compressions = ['none', 'gzip', 'lz4'] as const

export type Compression = (typeof compressions)[number]

/** What is meant where nothing is said. */
const usualCompression: Compression = 'gzip'
/** What can not be compressed grows a little. */
export const storedBytesMax: number = blockBytes + 64 * 1024

const gunzipped = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(gunzip)
const gzipped = promisify<Uint8Array, Buffer>(gzip)

/** Throws `invalid_argument`. */
export function parseCompression(text: string): Compression {
  const found = compressions.find((each) => each === (text || usualCompression))
  if (found) return found
  throw new ImageError(
    'invalid_argument',
    `unsupported compression method: ${text.slice(0, 80)}; it is one of ${compressions.join(', ')}`,
  )
}

export async function packBlock(
  plain: Uint8Array<ArrayBuffer>,
  compression: Compression,
): Promise<Uint8Array> {
  if (compression === 'gzip') return await gzipped(plain)
  return compression === 'lz4' ? compressLz4(plain) : plain
}

/** The plain block of that checksum. Throws `data_loss` where `stored` does not hold it. */
export async function unpackBlock(
  stored: Uint8Array<ArrayBuffer>,
  wanted: { checksum: string; sizeBytes: number; compression: Compression },
): Promise<Uint8Array<ArrayBuffer>> {
  const { checksum, sizeBytes, compression } = wanted
  const failures: string[] = []
  // The way that the backup says comes first.
  for (const each of [compression, ...compressions.filter((other) => other !== compression)]) {
    try {
      const plain = await unpack(stored, each, sizeBytes)
      if (!plain) continue
      const found = `${plain.length} bytes with the checksum ${await checksumOf(plain)}`
      if (found === `${sizeBytes} bytes with the checksum ${checksum}`) return plain
      failures.push(`as ${each} it has ${found}`)
    } catch (error) {
      failures.push(`as ${each}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  throw new ImageError(
    'data_loss',
    `checksum verification failed for block ${checksum}, of which ${sizeBytes} bytes are expected: ` +
      `${failures.join('; ') || `${stored.length} bytes are stored`}. The backup is damaged.`,
  )
}

/** Undefined where it is clearly not stored that way. */
async function unpack(
  stored: Uint8Array<ArrayBuffer>,
  compression: Compression,
  sizeBytes: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (compression === 'none') return stored.length === sizeBytes ? stored : undefined
  if (compression === 'lz4') return isLz4(stored) ? decompressLz4(stored, sizeBytes) : undefined
  const isGzip = stored[0] === 0x1f && stored[1] === 0x8b
  return isGzip
    ? new Uint8Array(await gunzipped(stored, { maxOutputLength: sizeBytes }))
    : undefined
}
