// Stored bytes on their way to a client: what it may hold on to, what its conditions mean, and the bytes
// themselves, all of them or a connection that is cut.

import type { ServerResponse } from 'node:http'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type Bytes, type Image, ImageError, asError } from '@backing-image/core'
import { type Validators, checkConditions } from './conditions.ts'
import type { Call } from './front.ts'
import { ErrorWithHeaders } from './problem.ts'
import type { Front } from './upload.ts'
import { isEncrypted } from './view.ts'

const yearSeconds = 365 * 24 * 3600

/** What is there now. */
export interface Current extends Validators {
  /** The URL names the version, so that a cache may keep it for ever. */
  isImmutable: boolean
}

export function validatorsOf({ etag, modifiedAt, isImmutable }: Current): Record<string, string> {
  // no-transform: a proxy that compresses would take away length, ranges and the meaning of the tag.
  const caching = isImmutable ? `max-age=${yearSeconds}, immutable, ` : 'no-cache, '
  return {
    ETag: etag,
    'Last-Modified': modifiedAt.toUTCString(),
    'Cache-Control': `${caching}no-transform`,
  }
}

/** 304 where the client has it already, undefined where it is to be sent; throws for 412. */
export function answerConditions(
  c: Call,
  { etag, modifiedAt }: Current,
  validators: Record<string, string>,
): Response | undefined {
  const verdict = checkConditions((name) => c.req.header(name), { etag, modifiedAt })
  // RFC 9110 §15.4.5: what a 200 would have sent of these goes along.
  if (verdict === 'not-modified') return c.body(null, 304, validators)
  if (verdict === 'proceed') return undefined
  throw new ErrorWithHeaders(
    new ImageError(
      'failed_precondition',
      `The image is not the one that If-Match or If-Unmodified-Since means. Its ETag is ${etag}.`,
    ),
    { ETag: etag },
  )
}

interface Sending {
  /** For the log. */
  image: Image
  status: 200 | 206
  /** With the length. */
  headers: Record<string, string>
  read: (signal: AbortSignal) => Promise<Bytes>
}

/** Answers a GET or HEAD; resolves when everything has been sent, or the client has gone. */
export async function sendBytes(c: Call, front: Front, sending: Sending): Promise<Response> {
  const { status, headers } = sending
  if (c.req.method === 'HEAD') return c.body(null, status, headers)
  const { outgoing } = c.env
  const reading = new AbortController()
  // A read that hangs is left when nobody waits for it any more.
  outgoing.once('close', () => reading.abort())
  const cut = () => outgoing.destroy()
  front.aborting?.addEventListener('abort', cut)
  try {
    const bytes = await sending.read(reading.signal)
    outgoing.writeHead(status, { ...headers, ...commonHeaders(c) })
    await send(outgoing, front, bytes)
  } catch (error) {
    // Who has left is no news, and gets no answer.
    if (outgoing.destroyed) return RESPONSE_ALREADY_SENT
    if (!outgoing.headersSent) throw error
    const { name, version } = sending.image
    const requestId = c.get('requestId')
    front.log.warn({ requestId, name, version, err: asError(error) }, 'download cut')
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
