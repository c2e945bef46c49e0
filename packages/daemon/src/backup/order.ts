// An order for a backup: what it has to say, and what is wrong with it before its target is asked.

import { type FileHandle, open } from 'node:fs/promises'
import { ImageError, asError, sectorBytes } from '@backing-image/core'
import { parseCompression } from './block.ts'
import { type Config, timeText } from './config.ts'
import { parseLabels } from './labels.ts'
import { isName } from './layout.ts'
import type { Credential } from './target.ts'

export interface BackupOrder {
  name: string
  uuid: string
  /** Of the image; absolute. */
  path: string
  /** SHA-512 of the image, or empty. */
  checksum: string
  backupTarget: string
  /** `key=value`. */
  labels: readonly string[]
  credential: Credential
  /** `none`, `gzip` or `lz4`; gzip where it is empty. */
  compressionMethod: string
  /** How many blocks are sent at a time. */
  concurrentLimit: number
  /** Of those only `secret` and `secret-namespace` mean something. */
  parameters: Readonly<Record<string, string>>
}

/** The image, and what will be said of its backup. */
export interface Prepared {
  file: FileHandle
  config: Config
}

/** What can be said of an order without its target. */
export async function prepare(order: BackupOrder): Promise<Prepared> {
  let file: FileHandle | undefined
  try {
    const config = configOf(order)
    file = await open(order.path)
    config.sizeBytes = await sizeOf(file, order.path)
    return { file, config }
  } catch (error) {
    await file?.close()
    throw wrapped(`failed to initialize backup ${order.name}`, error)
  }
}

/** Throws `invalid_argument`. The size comes later. */
function configOf(order: BackupOrder): Config {
  const { name, checksum, labels, compressionMethod, parameters } = order
  if (order.backupTarget === '') throw invalid('missing input parameter: the backup target')
  if (!isName(name)) {
    throw invalid(
      `invalid backing image name ${name} for it is longer than 64, or is not two or more of ` +
        'letters, digits, "_", "." and "-" that begin with a letter or digit',
    )
  }
  return {
    name,
    sizeBytes: 0,
    checksum,
    labels: labelsOf(name, labels),
    compression: parseCompression(compressionMethod),
    createdAt: timeText(new Date()),
    completedAt: '',
    secret: parameters['secret'] ?? '',
    secretNamespace: parameters['secret-namespace'] ?? '',
    blocks: [],
  }
}

function labelsOf(name: string, labels: readonly string[]): Record<string, string> {
  try {
    return parseLabels(labels)
  } catch (error) {
    throw wrapped(`failed to parse backup labels for backup backing image ${name}`, error)
  }
}

async function sizeOf(file: FileHandle, path: string): Promise<number> {
  const found = await file.stat()
  if (found.isFile() && found.size > 0 && found.size % sectorBytes === 0) return found.size
  throw invalid(
    `the backing file size ${found.size} of ${path} should be a multiple of ${sectorBytes} bytes ` +
      'since Longhorn uses directIO by default',
  )
}

function invalid(message: string): ImageError {
  return new ImageError('invalid_argument', message)
}

/** Says where it happened, and keeps what kind it is. */
export function wrapped(where: string, error: unknown): ImageError {
  const code = error instanceof ImageError ? error.code : 'unknown'
  return new ImageError(code, `${where}: ${asError(error).message}`, { cause: error })
}
