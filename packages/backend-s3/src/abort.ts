// The end of a multipart upload that becomes no object, with all of its parts.

import { AbortMultipartUploadCommand, ListPartsCommand } from '@aws-sdk/client-s3'
import { ImageError, isImageError } from '@backing-image/core'
import { setTimeout as pause } from 'node:timers/promises'
import type { Bucket } from './bucket.ts'

const abortTriesMax = 5

/**
 * Aborts an upload, and again while parts outlive it: one in flight can be stored after the abort.
 * An upload that is not there is success.
 */
export async function abortUpload(bucket: Bucket, key: string, id: string): Promise<void> {
  const names = { ...bucket.at(key), UploadId: id }
  for (let attempt = 1; ; attempt += 1) {
    try {
      const what = `abort the upload of ${key}`
      await bucket.send(new AbortMultipartUploadCommand(names), { what })
      const list = new ListPartsCommand({ ...names, MaxParts: 1 })
      const { Parts = [] } = await bucket.send(list, { what: `see whether ${key} has parts left` })
      if (Parts.length === 0 && attempt > 1) return
    } catch (error) {
      if (isImageError(error, 'not_found')) return
      throw error
    }
    if (attempt >= abortTriesMax) {
      throw new ImageError('unavailable', `Parts of ${key} outlive the abort of their upload.`)
    }
    await pause(100 * 2 ** attempt)
  }
}
