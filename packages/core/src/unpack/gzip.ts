// Unpacks gzip as a stream (RFC 1952) with Node's zlib, which has threads of its own and checks the CRC
// and the length of each member.

import { createGunzip, type Gunzip } from 'node:zlib'
import type { Bytes } from '../backend.ts'
import { unpackError } from '../compression.ts'
import { asError } from '../errors.ts'

const outputBytes = 256 * 1024

/** The unpacked bytes of all members that follow each other in `packed`; zeros may come after them. */
export async function* unpackGzip(packed: Bytes, signal: AbortSignal): Bytes {
  signal.throwIfAborted()
  const unzip = createGunzip({ chunkSize: outputBytes })
  // The reader is told of it by other ways; without a listener it would end the process.
  unzip.on('error', () => {})
  const stop = (): void => void unzip.destroy(asError(signal.reason))
  signal.addEventListener('abort', stop)
  const feeding = feed(packed, unzip)
  // An error of the source ends the stream, and is what the reader gets.
  feeding.catch((error: unknown) => unzip.destroy(asError(error)))
  try {
    yield* unzip as AsyncIterable<Uint8Array>
    await feeding
  } catch (error) {
    throw translated(asError(error))
  } finally {
    signal.removeEventListener('abort', stop)
    unzip.destroy()
  }
}

async function feed(packed: Bytes, unzip: Gunzip): Promise<void> {
  // The last time that zlib takes anything: its end comes at a zero where a member could begin.
  const over = new Promise<unknown>((resolve) => unzip.once('end', resolve).once('close', resolve))
  let fedBytes = 0
  for await (const chunk of packed) {
    if (!unzip.readableEnded) await Promise.race([write(unzip, chunk), over])
    if (unzip.readableEnded) assertZeros(chunk.subarray(Math.max(unzip.bytesWritten - fedBytes, 0)))
    else if (unzip.destroyed) return
    fedBytes += chunk.length
  }
  unzip.end()
}

function assertZeros(rest: Uint8Array): void {
  if (rest.every((byte) => byte === 0)) return
  throw unpackError('gzip', 'damaged', 'not all zeros')
}

/** Resolves when nothing of the chunk is needed any more. */
async function write(unzip: Gunzip, chunk: Uint8Array): Promise<void> {
  // Its error comes out of the other end.
  await new Promise((resolve) => unzip.write(chunk, resolve))
}

function translated(error: Error & { code?: string }): Error {
  if (error.code === 'Z_BUF_ERROR') return unpackError('gzip', 'cut', '')
  if (error.code === 'Z_DATA_ERROR') return unpackError('gzip', 'damaged', error.message)
  return error
}
