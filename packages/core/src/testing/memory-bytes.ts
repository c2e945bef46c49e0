// How the backend in memory reads the bytes of a put, and gives those of an object.

import { type Bytes, type Range } from '../backend.ts'
import { ImageError } from '../errors.ts'

const chunkBytesMax = 64 * 1024

/** Settles as `work` does, or rejects with the signal's reason as soon as that is aborted. */
export async function orAborted<T>(work: T | PromiseLike<T>, signal?: AbortSignal): Promise<T> {
  if (signal === undefined) return await work
  const over = new AbortController()
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason), { signal: over.signal })
  })
  try {
    return await Promise.race([aborted, work])
  } finally {
    over.abort()
  }
}

/** Gives `take` a copy of each chunk. What `take` throws ends it, as an error of the source does. */
export async function readEach(
  bytes: Bytes,
  signal: AbortSignal | undefined,
  take: (chunk: Uint8Array) => void,
): Promise<void> {
  const iterator = bytes[Symbol.asyncIterator]()
  try {
    for (;;) {
      const step = await orAborted(iterator.next(), signal)
      if (step.done === true) break
      take(Uint8Array.from(step.value))
    }
    signal?.throwIfAborted()
  } catch (error) {
    // Not awaited: the return() of a generator that hangs waits for as long as it does.
    void letGo(iterator)
    throw error
  }
}

async function letGo(iterator: AsyncIterator<Uint8Array>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // The error for which the source was given up says more than its clean-up can.
  }
}

export function assertWithin({ start, end }: Range, size: number, key: string): void {
  if (start < 0 || end < start || end >= size) {
    const asked = `Bytes ${start} to ${end}`
    throw new ImageError('out_of_range', `${asked} are not within ${key} of ${size} bytes.`)
  }
}

/** Copies, for chunks belong to the caller. An object's body is never written to: a snapshot. */
export async function* chunksOf(
  body: Uint8Array,
  start: number,
  end: number,
  signal?: AbortSignal,
): Bytes {
  for (let at = start; at < end; at += chunkBytesMax) {
    signal?.throwIfAborted()
    yield Uint8Array.from(body.subarray(at, Math.min(end, at + chunkBytesMax)))
  }
}
