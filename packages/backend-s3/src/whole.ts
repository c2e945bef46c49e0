// An object in one request, as most are.

import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import type { Bucket } from './bucket.ts'
import { type Found, bodyTimeouts, contentType, foundOf } from './upload.ts'

/** A larger body may take its time on the way. */
const smallBytesMax = 1024 * 1024

/**
 * One request, which may be sent again: it writes the same. `onSent` is called when nothing reads
 * `body` any more.
 */
export async function putWhole(
  bucket: Bucket,
  key: string,
  body: Buffer,
  { signal, onSent }: { signal: AbortSignal; onSent: () => void },
): Promise<Found> {
  const names = bucket.at(key)
  const size = body.length
  const put = new PutObjectCommand({ ...names, ContentType: contentType, Body: body })
  const timeouts = size > smallBytesMax ? bodyTimeouts : {}
  const options = { what: `store ${key}`, signal, ...timeouts }
  const { ETag: tag = '' } = await bucket.send(put, options)
  onSent()
  const head = new HeadObjectCommand(names)
  try {
    const found = foundOf(await bucket.send(head, { what: `look at ${key}`, signal }))
    if (found.tag === tag) return found
  } catch {
    signal.throwIfAborted()
  }
  // It is stored, though another put, a delete or an outage was faster than our look.
  return { size, tag, modifiedAt: BigInt(Date.now()) * 1_000_000n }
}
