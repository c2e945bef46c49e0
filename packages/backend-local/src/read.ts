// One object, or a range of it, as chunks of at most 1 MiB: each in memory of its own, or in turn in
// the same two pieces when they are lent. The next is read while the reader has the last.

import { ImageError, type Bytes, type GetOptions } from '@backing-image/core'
import { unlessAborted } from './abort.ts'
import { readFlags } from './commit.ts'
import { errnoOf, type Disk, type OpenFile } from './disk.ts'

const chunkBytesMax = 1024 * 1024
const attemptsMax = 10
const ready = new Uint8Array(0)

/** Rejects with `not_found` or `out_of_range` before it resolves. */
export async function readObject(
  disk: Disk,
  path: string,
  key: string,
  options: GetOptions,
): Promise<Bytes> {
  for (let attempt = 1; ; attempt += 1) {
    const chunks = readChunks(disk, path, key, options)
    try {
      // Runs to its first yield: the file is open and checked, and from now on `return` closes it.
      await chunks.next()
      return chunks
    } catch (error) {
      // On NFS another client has replaced it since it was opened: a new look finds the new one.
      if (errnoOf(error) !== 'ESTALE' || attempt === attemptsMax) throw error
    }
  }
}

async function* readChunks(
  disk: Disk,
  path: string,
  key: string,
  options: GetOptions,
): AsyncGenerator<Uint8Array> {
  const { range, signal } = options
  const opening = disk.open(path, readFlags)
  const file = await unlessAborted(opening, signal).catch((error: unknown) => {
    // Given up while it hung: what comes late is closed.
    void opening.then((late) => late.close()).catch(() => {})
    throw error
  })
  let pending: Promise<unknown> = Promise.resolve()
  const run = <T>(work: Promise<T>): Promise<T> => {
    pending = work.catch(() => {})
    return unlessAborted(work, signal)
  }
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    // A read that hangs still writes into its buffer and needs the descriptor.
    closing ??= pending.then(() => file.close())
    await unlessAborted(closing, signal).catch(() => {})
  }
  try {
    const { start, end } = within(await run(file.stat()), range, key)
    if (end - start <= chunkBytesMax) {
      const only = await run(readChunk(file, ownMemory(end - start), start, key))
      // A small one holds no descriptor while its reader takes its time.
      await close()
      yield ready
      if (only.length > 0) yield only
      return
    }
    yield ready
    const memory = options.lend ? lentMemory() : ownMemory
    const read = (at: number): Promise<Uint8Array> => {
      const chunk = readChunk(file, memory(Math.min(chunkBytesMax, end - at)), at, key)
      pending = chunk.catch(() => {})
      return chunk
    }
    let next = read(start)
    for (let at = start; at < end; at += chunkBytesMax) {
      const chunk = await unlessAborted(next, signal)
      // A failure of this one is told when its turn has come.
      if (at + chunkBytesMax < end) next = read(at + chunkBytesMax)
      yield chunk
    }
  } finally {
    await close()
  }
}

function within(
  stats: Awaited<ReturnType<OpenFile['stat']>>,
  range: GetOptions['range'],
  key: string,
): { start: number; end: number } {
  if (!stats.isFile()) throw new ImageError('not_found', `There is no ${key}.`)
  const size = Number(stats.size)
  if (!range) return { start: 0, end: size }
  const { start, end } = range
  if (
    !(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end && end < size)
  ) {
    throw new ImageError(
      'out_of_range',
      `Bytes ${start} to ${end} are not within the ${size} bytes of ${key}.`,
    )
  }
  return { start, end: end + 1 }
}

/** Neither pooled nor used again: such a chunk belongs to the caller. */
function ownMemory(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(bytes)
}

/** Two pieces in turn: one is with the reader while the other is filled. */
function lentMemory(): (bytes: number) => Buffer {
  const pieces = [Buffer.allocUnsafeSlow(chunkBytesMax), Buffer.allocUnsafeSlow(chunkBytesMax)]
  let turn = 0
  return (bytes) => {
    turn = 1 - turn
    return (pieces[turn] ?? ownMemory(bytes)).subarray(0, bytes)
  }
}

async function readChunk(
  file: OpenFile,
  chunk: Buffer,
  start: number,
  key: string,
): Promise<Uint8Array> {
  for (let filled = 0; filled < chunk.length;) {
    const got = await file.read(chunk.subarray(filled), start + filled)
    if (got === 0) {
      const end = start + chunk.length
      throw new ImageError('data_loss', `${key} ended at byte ${start + filled}, ${end} expected.`)
    }
    filled += got
  }
  return chunk
}
