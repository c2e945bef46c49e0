// Which backends there are: one table from STORAGE_BACKEND_TYPE to what opens it.

import { LocalBackend } from '@backing-image/backend-local'
import { NfsBackend } from '@backing-image/backend-nfs'
import { S3Backend } from '@backing-image/backend-s3'
import { type Backend, type ImageError, isImageError } from '@backing-image/core'
import { type Config, ConfigError, type StorageConfig } from './config.ts'

/** `close` ends this process's part, when nothing is under way any more. */
export type OpenBackend = Backend & { close(): Promise<void> }

type Opening = Pick<Config, 'extraCaFile' | 'httpProxy' | 'httpsProxy' | 'noProxy'> & {
  storage: StorageConfig
}

/** Told in sentences what an operator should know. */
type Notice = (text: string) => void

/**
 * Throws a ConfigError when the storage can not be used as configured, and an ImageError when it does
 * not answer now.
 */
export async function openBackend(
  config: Opening,
  onNotice: Notice = () => {},
): Promise<OpenBackend> {
  const { storage } = config
  try {
    return await openers[storage.type](config, onNotice)
  } catch (error) {
    if (!isImageError(error) || isPassing(error)) throw error
    throw new ConfigError([`${given(storage)}; it can not be used. ${error.message}`])
  }
}

/** Nothing to correct: the next start may find it well. */
function isPassing(error: ImageError): boolean {
  return isImageError(error, 'unavailable', 'deadline_exceeded')
}

const openers: Record<
  StorageConfig['type'],
  (config: Opening, onNotice: Notice) => Promise<OpenBackend>
> = { local: openLocal, nfs: openNfs, s3: openS3 }

async function openNfs({ storage }: Opening, onNotice: Notice): Promise<OpenBackend> {
  const { path, id } = storage
  const mount = storage.type === 'nfs' ? storage.mount : undefined
  return await NfsBackend.open({
    path,
    ...(mount && { mount }),
    ...(id !== undefined && { storageId: id }),
    onNotice,
  })
}

async function openS3(config: Opening): Promise<OpenBackend> {
  const { storage, extraCaFile, httpProxy, httpsProxy, noProxy } = config
  if (storage.type !== 's3') throw new Error('The storage is no bucket.')
  return await S3Backend.open({
    ...storage.s3,
    ...(extraCaFile !== undefined && { extraCaFile }),
    ...(httpProxy !== undefined && { httpProxy }),
    ...(httpsProxy !== undefined && { httpsProxy }),
    ...(noProxy !== undefined && { noProxy }),
  })
}

async function openLocal({ storage: { path } }: Opening): Promise<OpenBackend> {
  try {
    return await LocalBackend.open({ root: path })
  } catch (error) {
    if (!isImageError(error, 'not_found')) throw error
    const user = process.getuid?.() ?? '?'
    throw new ConfigError([
      `BACKING_IMAGE_STORAGE_PATH: "${path}" was given; there is no such folder. Make it, and let ` +
        `user ${user} read and write there.`,
    ])
  }
}

/** Where the images are, for people. */
export function placeOf(storage: StorageConfig): string {
  if (storage.type === 's3') {
    const { endpoint, bucket, prefix } = storage.s3
    return `bucket ${bucket}${prefix && ` under ${prefix}`} of ${endpoint}`
  }
  const mount = storage.type === 'nfs' ? storage.mount : undefined
  return mount ? `${mount.server}:${mount.exportPath}, mounted at ${storage.path}` : storage.path
}

/** The variables that say where the store is. */
function given(storage: StorageConfig): string {
  if (storage.type === 's3') {
    const { endpoint, bucket } = storage.s3
    return `S3_ENDPOINT, S3_BUCKET: "${endpoint}", "${bucket}" were given`
  }
  if (storage.type === 'nfs' && storage.mount) {
    const { server, exportPath } = storage.mount
    return `NFS_SERVER, NFS_EXPORT: "${server}", "${exportPath}" were given`
  }
  return `BACKING_IMAGE_STORAGE_PATH: "${storage.path}" was given`
}
