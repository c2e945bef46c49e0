// A backup out of its target, as the bytes of the image in their order.

import { ImageError } from '@backing-image/core'
import { again } from './again.ts'
import { storedBytesMax, unpackBlock } from './block.ts'
import { type Block, type Config, readConfig } from './config.ts'
import { blockBytes, blockPath, parseBackupUrl } from './layout.ts'
import { Lock } from './lock.ts'
import { type Credential, type Target, openTarget } from './target.ts'

const concurrencyMax = 64

export interface RestoreOptions {
  /** How many blocks are fetched at a time, and so held in memory. */
  concurrentLimit: number
  signal?: AbortSignal
  /** As LockOptions has it. */
  settleMs?: number
}

export interface OpenedBackup {
  /** Of the image, in bytes. */
  size: number
  /** SHA-512 of the image as the backup tells it, or empty. */
  checksum: string
  /**
   * All bytes in their order, in chunks of up to 2 MiB that must not be changed; each block has its
   * checksum. Rejects with an error that names the block which is missing or damaged.
   */
  bytes: AsyncGenerator<Uint8Array, void, undefined>
  /** Gives the lock back, and lets the target go; to be called in the end, whatever happens. */
  close(): Promise<void>
}

/**
 * Opens the backup at `url` (contract §2.6), which takes over two seconds. Rejects with `not_found`
 * where there is none, and with `failed_precondition` for one that is not complete.
 */
export async function openBackup(
  url: string,
  credential: Credential,
  options: RestoreOptions,
): Promise<OpenedBackup> {
  const { name, target: targetUrl } = parseBackupUrl(url)
  const stopping = new AbortController()
  const signal = options.signal
    ? AbortSignal.any([options.signal, stopping.signal])
    : stopping.signal
  const target = await openTarget(targetUrl, credential, { signal })
  let lock: Lock | undefined
  const close = async (): Promise<void> => {
    stopping.abort(new ImageError('cancelled', `The restore of ${name} has been ended.`))
    await lock?.release()
    lock = undefined
    await target.close().catch(() => {})
  }
  try {
    const { settleMs } = options
    lock = await Lock.acquire(target, { signal, ...(settleMs !== undefined && { settleMs }) })
    const config = await readConfig(target, name)
    assertComplete(config)
    const limit = Math.max(1, Math.min(concurrencyMax, Math.floor(options.concurrentLimit) || 1))
    const bytes = readBlocks(target, config, limit, signal)
    return { size: config.sizeBytes, checksum: config.checksum, bytes, close }
  } catch (error) {
    await close()
    throw error
  }
}

function assertComplete({ name, sizeBytes, completedAt }: Config): void {
  if (completedAt === '') {
    const text = `backup backing image ${name} is still in progress, or was left by one that failed`
    throw new ImageError('failed_precondition', text)
  }
  if (sizeBytes === 0) throw new ImageError('data_loss', 'read invalid backing image size 0')
}

async function* readBlocks(
  target: Target,
  config: Config,
  limit: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { blocks, sizeBytes } = config
  const zeros = new Uint8Array(Math.min(blockBytes, sizeBytes))
  const ahead: Promise<Uint8Array>[] = []
  let next = 0
  let index = 0
  for (let offset = 0; offset < sizeBytes; offset += blockBytes) {
    signal.throwIfAborted()
    for (; ahead.length < limit && next < blocks.length; next += 1) {
      const fetching = fetchBlock(target, config, blocks[next] as Block, signal)
      // It is told when its turn comes, or nobody waits for it any more.
      fetching.catch(() => {})
      ahead.push(fetching)
    }
    if (blocks[index]?.offset !== offset) {
      yield zeros.subarray(0, Math.min(blockBytes, sizeBytes - offset))
      continue
    }
    index += 1
    const block = ahead.shift()
    if (block) yield await block
  }
}

async function fetchBlock(
  target: Target,
  { sizeBytes, compression, name }: Config,
  { offset, checksum }: Block,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const wanted = { checksum, compression, sizeBytes: Math.min(blockBytes, sizeBytes - offset) }
  try {
    return await again(
      async () => await unpackBlock(await target.read(blockPath(checksum), storedBytesMax), wanted),
      signal,
    )
  } catch (error) {
    if (!(error instanceof ImageError)) throw error
    const text = `failed to read block ${blockPath(checksum)} of the backup ${name}, which goes to ${offset}`
    throw new ImageError(error.code, `${text}: ${error.message}`, { cause: error })
  }
}
