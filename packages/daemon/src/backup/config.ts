// What a backup says of itself in the target: the JSON of `backing-image.cfg`, as Longhorn writes and
// reads it.

import { ImageError } from '@backing-image/core'
import { type Compression, parseCompression } from './block.ts'
import { blockBytes, configPath, isBlockChecksum } from './layout.ts'
import type { Target } from './target.ts'

/** It grows with the image: some 100 bytes for each block. */
const configBytesMax = 256 * 1024 * 1024

export interface Block {
  /** In bytes; a multiple of `blockBytes`. */
  offset: number
  checksum: string
}

export interface Config {
  name: string
  sizeBytes: number
  /** SHA-512 of the image, or empty. */
  checksum: string
  labels: Record<string, string>
  compression: Compression
  createdAt: string
  /** Empty until it is complete. */
  completedAt: string
  /** With which the image is encrypted; names only. */
  secret: string
  secretNamespace: string
  /** Those that are not all zeros, in the order of their offsets. */
  blocks: Block[]
}

/** With the keys of Longhorn's own, in their order. */
export function formatConfig(config: Config): Uint8Array {
  const { labels, blocks } = config
  const isComplete = config.completedAt !== ''
  const text = JSON.stringify({
    Name: config.name,
    Size: String(config.sizeBytes),
    BlockCount: String(blocks.length),
    Checksum: config.checksum,
    Labels: labels,
    CompressionMethod: config.compression,
    CreatedTime: config.createdAt,
    CompleteTime: config.completedAt,
    Secret: config.secret,
    SecretNamespace: config.secretNamespace,
    ProcessingBlocks: isComplete ? { Blocks: {} } : null,
    ...(blocks.length > 0 && {
      Blocks: blocks.map(({ offset, checksum }) => ({ Offset: offset, BlockChecksum: checksum })),
    }),
  })
  return Buffer.from(text)
}

/** RFC 3339 in whole seconds. */
export function timeText(date: Date): string {
  return date.toISOString().replace(/\.\d+/, '')
}

/** Rejects with `not_found` where there is none, and with `data_loss` for what is none. */
export async function readConfig(target: Target, name: string): Promise<Config> {
  const path = configPath(name)
  let bytes: Uint8Array
  try {
    bytes = await target.read(path, configBytesMax)
  } catch (error) {
    if (!(error instanceof ImageError) || error.code !== 'not_found') throw error
    const text = `backing image ${name} doesn't exist in backup store: cannot find ${path} in backupstore`
    throw new ImageError('not_found', text, { cause: error })
  }
  return parseConfig(name, bytes)
}

function parseConfig(name: string, bytes: Uint8Array): Config {
  const record = parseObject(name, bytes)
  const text = (key: string): string => {
    const value = record[key] ?? ''
    if (typeof value === 'string') return value
    throw damaged(name, `${key} is no text`)
  }
  const sizeBytes = Number(text('Size') || 'none')
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw damaged(name, 'Size is no number')
  return {
    name,
    sizeBytes,
    checksum: text('Checksum'),
    labels: Object.fromEntries(
      Object.entries(record['Labels'] ?? {}).map(([key, value]) => [key, String(value)]),
    ),
    compression: parseCompression(text('CompressionMethod')),
    createdAt: text('CreatedTime'),
    completedAt: text('CompleteTime'),
    secret: text('Secret'),
    secretNamespace: text('SecretNamespace'),
    blocks: parseBlocks(name, record['Blocks'] ?? [], sizeBytes),
  }
}

function parseObject(name: string, bytes: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString())
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  } catch {
    // Told below.
  }
  throw damaged(name, 'it is no JSON object')
}

function parseBlocks(name: string, list: unknown, sizeBytes: number): Block[] {
  if (!Array.isArray(list)) throw damaged(name, 'Blocks is no list')
  const blocks = list.map((item: unknown) => {
    const { Offset: offset, BlockChecksum: checksum } = (item ?? {}) as Record<string, unknown>
    const isPlace = typeof offset === 'number' && Number.isSafeInteger(offset) && offset >= 0
    if (!isPlace || offset % blockBytes !== 0 || offset >= sizeBytes) {
      throw damaged(name, `a block is at ${JSON.stringify(offset)} of ${sizeBytes} bytes`)
    }
    if (!isBlockChecksum(checksum)) {
      throw damaged(name, `the block at ${offset} has no checksum of 64 hex digits`)
    }
    return { offset, checksum }
  })
  blocks.sort((one, other) => one.offset - other.offset)
  const twice = blocks.find(({ offset }, index) => blocks[index + 1]?.offset === offset)
  if (twice) throw damaged(name, `there are two blocks at ${twice.offset}`)
  return blocks
}

function damaged(name: string, why: string): ImageError {
  return new ImageError(
    'data_loss',
    `${configPath(name)} of the backup ${name} is damaged: ${why}.`,
  )
}
