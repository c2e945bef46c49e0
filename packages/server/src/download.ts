// Downloads: the exact stored bytes, whole or one range, with all that a client needs to check and
// resume them. Short answers do not exist: what can not be finished is cut.

import { ImageError, type OpenedImage } from '@backing-image/core'
import type { Hono } from 'hono'
import { formatDigests } from './digest-header.ts'
import type { Call, Env } from './front.ts'
import { readName } from './images.ts'
import { ErrorWithHeaders } from './problem.ts'
import { readQuery, readSelection } from './query.ts'
import { allowsRange, readRange } from './range.ts'
import { type Current, answerConditions, sendBytes, validatorsOf } from './sending.ts'
import { inSync } from './sync-senders.ts'
import type { Front } from './upload.ts'
import { fileName } from './view.ts'

/** Only the beginning of a download has to come within it: who resumes asks for another. */
const linkSeconds = 900
const conditionHeaders = [
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
]

export function addDownloadRoute(app: Hono<Env>, front: Front): void {
  app.get('/v1/backing-images/:name/download', async (c) => {
    const { version } = readSelection(readQuery(c, 'version'))
    const name = readName(c)
    const opened = await front.store.open(name, version === undefined ? {} : { version })
    return await inSync(
      c,
      front.senders,
      opened.image,
      async () =>
        (await redirect(c, front, opened)) ??
        (await sendImage(c, front, opened, version !== undefined)),
    )
  })
}

/**
 * The way to the store itself, where the operator wants that and there is one; undefined otherwise.
 * Never for HEAD: a link is signed for one method, and Longhorn and CDI want a 200.
 */
async function redirect(c: Call, front: Front, opened: OpenedImage): Promise<Response | undefined> {
  const { storage } = front.config
  const isWanted = storage.type === 's3' && storage.s3.redirectDownloads && c.req.method === 'GET'
  if (!isWanted || !opened.presign) return undefined
  // Conditions name our validators, of which the store knows nothing: they are answered here.
  if (conditionHeaders.some((name) => c.req.header(name) !== undefined)) return undefined
  const disposition = dispositionOf(fileName(opened.image))
  const url = await opened.presign({ expiresSeconds: linkSeconds, disposition })
  return c.body(null, 307, { Location: url, 'Cache-Control': 'no-store' })
}

function dispositionOf(filename: string): string {
  return `attachment; filename="${filename}"`
}

/**
 * Answers a GET or HEAD of the image's bytes. `isImmutable`: the URL names the version, so that a
 * cache may keep them for ever. `filename` is what a browser saves them as.
 */
export async function sendImage(
  c: Call,
  front: Front,
  opened: OpenedImage,
  isImmutable: boolean,
  filename: string = fileName(opened.image),
): Promise<Response> {
  const { image, modifiedAt } = opened
  const current = { etag: `"${image.currentChecksum}"`, modifiedAt, isImmutable }
  const validators = { ...validatorsOf(current), 'Accept-Ranges': 'bytes' }
  const unchanged = answerConditions(c, current, validators)
  if (unchanged) return unchanged
  const range = rangeOf(c, image.size, current)
  const headers = {
    ...validators,
    'Repr-Digest': formatDigests(image.checksums),
    'Content-Type': 'application/octet-stream',
    'Content-Disposition': dispositionOf(filename),
    ...(range && { 'Content-Range': `bytes ${range.start}-${range.end}/${image.size}` }),
    'Content-Length': String(range ? range.end - range.start + 1 : image.size),
  }
  return await sendBytes(c, front, {
    image,
    status: range ? 206 : 200,
    headers,
    read: (signal) => opened.read(range, signal),
  })
}

function rangeOf(
  c: Call,
  size: number,
  current: Current,
): { start: number; end: number } | undefined {
  // RFC 9110 §14.2: a Range means something with GET only.
  if (c.req.method !== 'GET' || !allowsRange(c.req.header('if-range'), current)) return undefined
  const answer = readRange(c.req.header('range'), size)
  if (answer.kind === 'part') return answer.range
  if (answer.kind === 'whole') return undefined
  throw new ErrorWithHeaders(
    new ImageError('out_of_range', `The range begins behind the end: the image has ${size} bytes.`),
    { 'Content-Range': `bytes */${size}` },
  )
}
