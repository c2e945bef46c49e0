// An upload that another process has left, and who goes on with it.

import type { PutOptions, Remains, Stat } from '@backing-image/core'
import * as assert from 'uvu/assert'
import { putStream } from '../multipart.ts'
import { remainsOf } from '../remains.ts'
import type { StoredUpload } from './medium.ts'
import { type Rig, content, key, partBytes, source } from './putting.ts'

/** Of the whole. */
export const body: Buffer = content(9 * partBytes + 77)

/** An upload with such parts, as another process has left it. */
export function plant({ server }: Rig, sizes: number[] = [partBytes, partBytes]): StoredUpload {
  const upload = server.medium.begin(`store/${key}`, { 'x-amz-meta-write-id': 'of another' })
  let at = 0
  for (const [index, size] of sizes.entries()) {
    server.medium.putPart(upload.key, upload.uploadId, index + 1, body.subarray(at, at + size))
    at += size
  }
  return upload
}

export async function found({ place }: Rig, durableBytes = 1): Promise<Remains> {
  const left = await remainsOf(place, key, durableBytes)
  assert.ok(left, 'nothing is left')
  return left
}

export async function goOn(
  { place }: Rig,
  after: Remains,
  options: PutOptions = {},
): Promise<Stat> {
  return await putStream(place, key, source(body.subarray(after.offset)), { ...options, after })
}
