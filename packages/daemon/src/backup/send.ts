// The bytes of an image into a target: read once from the first to the last, cut into blocks, and sent
// several at a time unless they are there already.

import type { FileHandle } from 'node:fs/promises'
import { type Hasher, ImageError } from '@backing-image/core'
import { again } from './again.ts'
import { type Compression, packBlock } from './block.ts'
import type { Block } from './config.ts'
import { blockBytes, blockPath, checksumOf } from './layout.ts'
import type { Target } from './target.ts'

const readBytes = 1024 * 1024

export interface Sending {
  file: FileHandle
  path: string
  sizeBytes: number
  target: Target
  compression: Compression
  /** How many blocks are on their way at a time. */
  concurrency: number
  hasher: Hasher
  signal: AbortSignal
  /** From 0 to 1. */
  onProgress(done: number): void
}

export interface Sent {
  blocks: Block[]
  /** SHA-512 of all bytes. */
  checksum: string
}

/** Rejects with the first failure, when nothing is on its way any more. */
export async function sendImage(sending: Sending): Promise<Sent> {
  const { file, sizeBytes, signal, onProgress, hasher, concurrency } = sending
  const before = await file.stat({ bigint: true })
  const digesting = hasher.digest(readFile(sending), ['sha512'])
  const blocks: Block[] = []
  const sender = new BlockSender(sending)
  const underWay = new Set<Promise<void>>()
  let failure: { error: unknown } | undefined
  try {
    let offset = 0
    for await (const block of cut(digesting.bytes, sizeBytes)) {
      signal.throwIfAborted()
      while (underWay.size >= concurrency) await Promise.race(underWay)
      if (failure) break
      const at = offset
      offset += block.length
      const work = (async (): Promise<void> => {
        try {
          const checksum = isZero(block) ? undefined : await sender.send(block)
          if (checksum !== undefined) blocks.push({ offset: at, checksum })
          onProgress(offset / sizeBytes)
        } catch (error) {
          failure ??= { error }
        }
      })()
      underWay.add(work)
      void work.then(() => underWay.delete(work))
    }
  } catch (error) {
    failure ??= { error }
  }
  await Promise.all(underWay)
  if (failure) throw failure.error
  const { sha512 } = await digesting.digests()
  const after = await file.stat({ bigint: true })
  if (after.mtimeNs !== before.mtimeNs || after.size !== before.size) throw changed(sending.path)
  blocks.sort((one, other) => one.offset - other.offset)
  return { blocks, checksum: sha512 }
}

/** Sends each content once. */
class BlockSender {
  readonly #sending: Sending
  readonly #sent = new Map<string, Promise<void>>()

  constructor(sending: Sending) {
    this.#sending = sending
  }

  async send(block: Uint8Array<ArrayBuffer>): Promise<string> {
    const checksum = await checksumOf(block)
    let sent = this.#sent.get(checksum)
    if (!sent) {
      sent = this.#send(block, checksum)
      this.#sent.set(checksum, sent)
    }
    await sent
    return checksum
  }

  async #send(block: Uint8Array<ArrayBuffer>, checksum: string): Promise<void> {
    const { target, compression, signal } = this.#sending
    const path = blockPath(checksum)
    const found = await again(() => target.stat(path), signal)
    // An empty one is what a power cut left of somebody's.
    if (found && found.sizeBytes > 0) return
    const packed = await packBlock(block, compression)
    await again(() => target.write(path, packed), signal)
  }
}

async function* readFile({ file, path, sizeBytes }: Sending): AsyncGenerator<Uint8Array> {
  const into = new Uint8Array(readBytes)
  for (let position = 0; position < sizeBytes;) {
    const length = Math.min(readBytes, sizeBytes - position)
    const { bytesRead } = await file.read(into, 0, length, position)
    if (bytesRead === 0) throw changed(path)
    position += bytesRead
    yield into.subarray(0, bytesRead)
  }
}

/** Blocks of their own memory, all of `blockBytes` but for the last. */
async function* cut(
  bytes: AsyncIterable<Uint8Array>,
  sizeBytes: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let left = sizeBytes
  let block = new Uint8Array(Math.min(blockBytes, left))
  let used = 0
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + block.length - used)
      block.set(part, used)
      used += part.length
      at += part.length
      if (used < block.length) continue
      yield block
      left -= used
      block = new Uint8Array(Math.min(blockBytes, left))
      used = 0
    }
  }
}

const zeros = Buffer.alloc(blockBytes)

function isZero(block: Uint8Array): boolean {
  return zeros.compare(block, 0, block.length, 0, block.length) === 0
}

function changed(path: string): ImageError {
  return new ImageError(
    'aborted',
    `The backing image file ${path} has changed during its backup, which is of no use then.`,
  )
}
