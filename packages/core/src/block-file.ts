// The block index as a store keeps it, beside the bytes that it tells of. Images that were published
// before there was one have none: everything works without.

import { type Backend, type Bytes, readAll } from './backend.ts'
import { BlockIndex, type BlockPart, blockCount, blockEntryBytes } from './blocks.ts'
import { ImageError, orUndefined } from './errors.ts'
import { type Image, imageOfRecord } from './image.ts'
import { blocksKey, parseBytesKey } from './layout.ts'
import type { VersionRecord } from './record.ts'

/** The block index of a published image, ready to be read. */
export interface OpenedBlocks {
  image: Image
  /** How many blocks the image has. */
  count: number
  /** All of it, or a part. `data_loss` where it can not be the index of the image. */
  read(part?: BlockPart, signal?: AbortSignal): Promise<BlockIndex>
  /** As it is kept: `count * blockEntryBytes` bytes. Each chunk is lent. */
  bytes(signal?: AbortSignal): Promise<Bytes>
}

/** `bytes` is the key of those bytes of the record that are read. `not_found` without an index, or one that can be used. */
export async function openBlocks(
  backend: Backend,
  record: VersionRecord,
  bytes: string,
): Promise<OpenedBlocks> {
  const { name, version, size } = record
  const key = keyBeside(bytes)
  const stat = await orUndefined(backend.stat(key))
  if (!stat) {
    throw new ImageError(
      'not_found',
      `${name} ${version} has no block index: it was published before there were any. ` +
        'Download it as a whole, or upload it again under a new version.',
    )
  }
  const count = blockCount(size)
  if (stat.size !== count * blockEntryBytes) {
    throw new ImageError(
      'not_found',
      `The block index of ${name} ${version} is damaged: it has ${stat.size} bytes, ` +
        `${count * blockEntryBytes} are expected of ${count} blocks. Download the image as a whole; a ` +
        'scrub with repair makes the index anew.',
    )
  }
  return {
    image: imageOfRecord(record),
    count,
    read: (part, signal) =>
      readBlocks(backend, bytes, size, { ...part, ...(signal && { signal }) }),
    bytes: (signal) => backend.get(key, { lend: true, ...(signal && { signal }) }),
  }
}

/** The index, or a part of it, of `size` bytes that are kept under the key `bytes`; `not_found`. */
export async function readBlocks(
  backend: Backend,
  bytes: string,
  size: number,
  options: Partial<BlockPart> & { signal?: AbortSignal } = {},
): Promise<BlockIndex> {
  const { first = 0, count = blockCount(size) - first, signal } = options
  const start = first * blockEntryBytes
  const range = { start, end: start + count * blockEntryBytes - 1 }
  const isWhole = first === 0 && count === blockCount(size)
  const content =
    count === 0
      ? new Uint8Array(0)
      : await readAll(
          await backend.get(keyBeside(bytes), {
            ...(!isWhole && { range }),
            ...(signal && { signal }),
          }),
          count * blockEntryBytes,
        )
  return BlockIndex.parse(content, size, { first, count })
}

function keyBeside(bytes: string): string {
  const ingest = parseBytesKey(bytes)
  if (!ingest) throw new ImageError('internal', `${bytes} is no key of bytes.`)
  return blocksKey(ingest.name, ingest.uuid)
}
