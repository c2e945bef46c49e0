// Files for a while, without names: nothing of them is left behind, however this process ends.

import { randomUUID } from 'node:crypto'
import { type FileHandle, open, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bytes, ImageError } from '@backing-image/core'

/** Others use that folder, too: so much stays free. */
const reserveBytes = 256 * 1024 * 1024
const lookIntervalBytes = 64 * 1024 * 1024
const readBytes = 1024 * 1024
const zeros = Buffer.alloc(readBytes)

export interface Writing {
  folder: string
  /** Of the whole, in bytes; zeros at its end are not written. */
  size: number
  onChunk: (chunk: Uint8Array) => void
}

/** A file whose name is gone already: its room is free again when nobody has it open. */
export async function openNameless(folder: string): Promise<FileHandle> {
  const path = join(folder, `.backing-image-${randomUUID()}`)
  const file = await open(path, 'wx+', 0o600).catch((error: unknown) => {
    throw unusable(folder, error)
  })
  try {
    await unlink(path)
  } catch (error) {
    await file.close()
    throw error
  }
  return file
}

/** Rejects with `resource_exhausted` where so many bytes would leave less than the reserve. */
export async function assertScratchRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize >= bytes + reserveBytes) return
  throw new ImageError(
    'resource_exhausted',
    `To convert an export ${bytes} bytes more are needed in ${folder}, where ${bavail * bsize} are free and ` +
      `${reserveBytes} are kept so. Set TMPDIR to a folder with more room, or ask for "export-type": "raw".`,
    { expected: String(bytes + reserveBytes), actual: String(bavail * bsize) },
  )
}

/** Writes what is not all zeros, as long as there is room. */
export async function writeSparse(
  file: FileHandle,
  bytes: Bytes,
  { folder, size, onChunk }: Writing,
): Promise<void> {
  let position = 0
  let untilLook = 0
  for await (const chunk of bytes) {
    onChunk(chunk)
    if (!isZeros(chunk)) {
      if (untilLook <= 0) {
        await assertScratchRoom(folder, lookIntervalBytes)
        untilLook = lookIntervalBytes
      }
      await writeAll(file, chunk, position).catch((error: unknown) => {
        throw unusable(folder, error)
      })
      untilLook -= chunk.length
    }
    position += chunk.length
  }
  await file.truncate(size)
}

/** All bytes of a file, which is closed when they are read or left, be it before the first of them. */
export function bytesOfFile(file: FileHandle): Bytes {
  const reading = read(file)
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => reading.next(),
      return: async () => {
        await reading.return()
        await file.close()
        return { done: true, value: undefined }
      },
    }),
  }
}

async function* read(file: FileHandle): AsyncGenerator<Uint8Array, void, undefined> {
  const buffer = Buffer.alloc(readBytes)
  try {
    for (let position = 0; ;) {
      const { bytesRead } = await file.read(buffer, 0, readBytes, position)
      if (bytesRead === 0) return
      position += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}

function unusable(folder: string, cause: unknown): ImageError {
  const { code = 'unknown' } = cause as NodeJS.ErrnoException
  return new ImageError(
    'failed_precondition',
    `To convert an export a file in ${folder} is needed, which can not be written (${code}). Set TMPDIR to ` +
      'a folder with room, or ask for "export-type": "raw".',
    { cause },
  )
}

function isZeros(chunk: Uint8Array): boolean {
  return (
    chunk.length <= zeros.length && zeros.compare(chunk, 0, chunk.length, 0, chunk.length) === 0
  )
}

async function writeAll(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < chunk.length;) {
    const { bytesWritten } = await file.write(chunk, at, chunk.length - at, position + at)
    at += bytesWritten
  }
}
