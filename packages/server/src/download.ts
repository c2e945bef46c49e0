// Downloads: the exact stored bytes, whole or one range, with all that a client needs to check and
// resume them. Short answers do not exist: what can not be finished is cut.

import type { ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type Bytes, ImageError, type OpenedImage, asError } from '@backing-image/core'
import type { Hono } from 'hono'
import { checkConditions } from './conditions.ts'
import { formatDigests } from './digest-header.ts'
import type { Call, Env } from './front.ts'
import { readName } from './images.ts'
import { ErrorWithHeaders } from './problem.ts'
import { readQuery, readSelection } from './query.ts'
import { allowsRange, readRange } from './range.ts'
import type { Front } from './upload.ts'
import { fileName, isEncrypted } from './view.ts'

const yearSeconds = 365 * 24 * 3600
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
    return (
      (await redirect(c, front, opened)) ??
      (await sendImage(c, front, opened, version !== undefined))
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
  const etag = `"${image.currentChecksum}"`
  // no-transform: a proxy that compresses would take away length, ranges and the meaning of the tag.
  const caching = isImmutable ? `max-age=${yearSeconds}, immutable, ` : 'no-cache, '
  const validators = {
    ETag: etag,
    'Last-Modified': modifiedAt.toUTCString(),
    'Cache-Control': `${caching}no-transform`,
    'Accept-Ranges': 'bytes',
  }
  const verdict = checkConditions((name) => c.req.header(name), { etag, modifiedAt })
  // RFC 9110 §15.4.5: what a 200 would have sent of these goes along.
  if (verdict === 'not-modified') return c.body(null, 304, validators)
  if (verdict === 'failed') throw changed(image.currentChecksum, validators)
  const range = rangeOf(c, image.size, { etag, modifiedAt, isImmutable })
  const headers = {
    ...validators,
    'Repr-Digest': formatDigests(image.checksums),
    'Content-Type': 'application/octet-stream',
    'Content-Disposition': dispositionOf(filename),
    ...(range && { 'Content-Range': `bytes ${range.start}-${range.end}/${image.size}` }),
    'Content-Length': String(range ? range.end - range.start + 1 : image.size),
  }
  const status = range ? 206 : 200
  if (c.req.method === 'HEAD') return c.body(null, status, headers)
  const { outgoing } = c.env
  const reading = new AbortController()
  // A read that hangs is left when nobody waits for it any more.
  outgoing.once('close', () => reading.abort())
  const cut = () => outgoing.destroy()
  front.aborting?.addEventListener('abort', cut)
  try {
    const bytes = await opened.read(range, reading.signal)
    outgoing.writeHead(status, { ...headers, ...commonHeaders(c) })
    await send(outgoing, front, bytes)
  } catch (error) {
    if (!outgoing.headersSent) throw error
    const { name, version } = image
    const requestId = c.get('requestId')
    // Who has left is no news.
    if (!outgoing.destroyed) {
      front.log.warn({ requestId, name, version, err: asError(error) }, 'download cut')
    }
    // The client has fewer bytes than were promised, and sees that it has.
    outgoing.destroy()
  } finally {
    front.aborting?.removeEventListener('abort', cut)
  }
  return RESPONSE_ALREADY_SENT
}

/** For answers that do not pass through the middleware on their way out. */
export function commonHeaders(c: Call): Record<string, string> {
  return { 'X-Request-Id': c.get('requestId'), 'X-Content-Type-Options': 'nosniff' }
}

function rangeOf(
  c: Call,
  size: number,
  current: { etag: string; modifiedAt: Date; isImmutable: boolean },
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

function changed(sha512: string, validators: Record<string, string>): ImageError {
  return new ErrorWithHeaders(
    new ImageError(
      'failed_precondition',
      `The image is not the one that If-Match or If-Unmodified-Since means. Its ETag is "${sha512}".`,
    ),
    { ETag: validators['ETag'] ?? '' },
  )
}

/**
 * Node's own stream: a web stream in between is one more queue. Ends the answer; throws when the
 * bytes fail. Stops when the client goes, or takes none for the idle time.
 */
async function send(outgoing: ServerResponse, front: Front, bytes: Bytes): Promise<void> {
  const { idleTimeoutMs } = front.config
  for await (const chunk of bytes) {
    // The chunk is lent. Each piece but the very last of all is over Node's mark for "has no room", so
    // that it has left before the next chunk is asked for.
    for (const piece of pieces(chunk, isEncrypted(outgoing.socket) ? secretBytes : chunk.length)) {
      if (outgoing.destroyed) return
      const hasRoom = outgoing.write(piece)
      front.metrics.served(piece.length)
      if (!hasRoom && !(await drained(outgoing, idleTimeoutMs))) return
    }
  }
  outgoing.end()
}

/** Of an encrypted write Node can not tell how much has left: only whole ones are signs of life. */
const secretBytes = 64 * 1024

function* pieces(chunk: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < chunk.length; at += size) yield chunk.subarray(at, at + size)
}

/** True when there is room again; false when the client has gone, or took nothing for so long. */
async function drained(outgoing: ServerResponse, idleTimeoutMs: number): Promise<boolean> {
  // Node's time-out counts what leaves a write under way as a sign of life, and cuts what has none.
  outgoing.socket?.setTimeout(idleTimeoutMs)
  const hasRoom = await new Promise<boolean>((resolve) => {
    const onDrain = () => settle(true)
    const onClose = () => settle(false)
    const settle = (value: boolean) => {
      outgoing.off('drain', onDrain)
      outgoing.off('close', onClose)
      resolve(value)
    }
    outgoing.on('drain', onDrain)
    outgoing.on('close', onClose)
    if (outgoing.destroyed) onClose()
  })
  outgoing.socket?.setTimeout(0)
  return hasRoom
}
