// The one pipe of the daemon: bytes in order, from wherever, into a file that nobody sees yet. They are
// hashed and looked at while they pass, so that nothing is read a second time.

import { type GuardedDisk, Temporary } from '@backing-image/backend-local'
import { type Bytes, type Hasher, ImageError } from '@backing-image/core'
import { removeFiles } from './config-file.ts'
import type { FileInfo } from './file-info.ts'
import { type Shape, ShapeInspector } from './shape.ts'

/** Where the files of one disk are, and who hashes them. */
export interface Place {
  /** The folder of the disk. */
  root: string
  disk: GuardedDisk
  hasher: Hasher
}

/** A file that is whole and durable, but not yet where it belongs. */
export interface Arrival {
  temporary: Pick<Temporary, 'seal' | 'commit' | 'discard'>
  size: number
  sha512: string
  shape: Shape
}

/** A new file at `path` in the place of one that was left there. */
export async function beginFile({ disk, root }: Place, path: string): Promise<Temporary> {
  await removeFiles(disk, [path])
  return await Temporary.create({ disk, root, pathOf: () => path })
}

/** Rejects with what `bytes` or `onBytes` throw, leaving nothing; `onBytes` is told of each piece. */
export async function arrive(
  place: Place,
  path: string,
  bytes: Bytes,
  { signal, onBytes }: { signal: AbortSignal; onBytes: (lengthBytes: number) => void },
): Promise<Arrival> {
  const temporary = await beginFile(place, path)
  try {
    await temporary.appendDirectly()
    const inspector = new ShapeInspector()
    const hashing = place.hasher.digest(told(bytes, onBytes), ['sha512'])
    let size = 0
    for await (const piece of hashing.bytes) {
      signal.throwIfAborted()
      inspector.write(piece)
      await temporary.append(piece)
      size += piece.length
    }
    signal.throwIfAborted()
    const { sha512 } = await hashing.digests()
    await temporary.seal()
    return { temporary, size, sha512, shape: inspector.end() }
  } catch (error) {
    await temporary.discard()
    throw error
  }
}

/** Told as they come: what is hashed is gathered to large pieces first, and a slow source has begun. */
async function* told(
  bytes: Bytes,
  onBytes: (lengthBytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    onBytes(chunk.length)
    yield chunk
  }
}

/** The SHA-512 of bytes, in hex. */
export async function sha512Of(hasher: Hasher, bytes: Bytes, signal: AbortSignal): Promise<string> {
  const hashing = hasher.digest(bytes, ['sha512'])
  for await (const piece of hashing.bytes) {
    void piece
    signal.throwIfAborted()
  }
  return (await hashing.digests()).sha512
}

/** Rejects what is not what was asked for, in Longhorn's words. */
export function assertWanted(
  { size, sha512 }: Pick<Arrival, 'size' | 'sha512'>,
  wanted: Pick<FileInfo, 'size' | 'expectedChecksum'>,
): void {
  if (wanted.size > 0 && size !== wanted.size) {
    const text = `processed data size ${size} does not match the expected file size ${wanted.size}`
    throw new ImageError('data_loss', text)
  }
  const { expectedChecksum: expected } = wanted
  if (expected === '' || expected === sha512) return
  throw new ImageError(
    'data_loss',
    `the expected checksum ${expected} doesn't match the file actual checksum ${sha512}`,
    { reason: 'checksum_mismatch', expected: `sha512:${expected}`, actual: `sha512:${sha512}` },
  )
}
