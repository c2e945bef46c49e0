// Which backends there are: one table from STORAGE_BACKEND_TYPE to what opens it.

import { LocalBackend } from '@backing-image/backend-local'
import { type Backend, isImageError } from '@backing-image/core'
import { ConfigError, type StorageConfig } from './config.ts'

/** `close` ends this process's part, when nothing is under way any more. */
export type OpenBackend = Backend & { close(): Promise<void> }

const openers: Record<StorageConfig['type'], (storage: StorageConfig) => Promise<OpenBackend>> = {
  local: (storage) => openLocal(storage.path),
  nfs: notBuilt,
  s3: notBuilt,
}

/** Throws a ConfigError when the storage can not be used as configured. */
export function openBackend(storage: StorageConfig): Promise<OpenBackend> {
  return openers[storage.type](storage)
}

async function openLocal(path: string): Promise<OpenBackend> {
  try {
    return await LocalBackend.open({ root: path })
  } catch (error) {
    const given = `BACKING_IMAGE_STORAGE_PATH: "${path}" was given`
    if (isImageError(error, 'not_found')) {
      const user = process.getuid?.() ?? '?'
      throw new ConfigError([
        `${given}; there is no such folder. Make it, and let user ${user} read and write there.`,
      ])
    }
    if (isImageError(error))
      throw new ConfigError([`${given}; it can not be used. ${error.message}`])
    throw error
  }
}

async function notBuilt(storage: StorageConfig): Promise<OpenBackend> {
  throw new ConfigError([
    `STORAGE_BACKEND_TYPE: "${storage.type}" was given; it is not built in this version. Use "local".`,
  ])
}
