// Uploads: PUT takes the request's body as the image; what it shares with the form is here too.

import { assertName, type Bytes, ImageError, type IngestRequest } from '@backing-image/core'
import type { Hono } from 'hono'
import { follow } from './abort.ts'
import { bodyOf, contentLength } from './body.ts'
import { readDigests } from './digest-header.ts'
import type { Call, Deps, Env } from './front.ts'
import type { Gate } from './gate.ts'
import { invalid, unsupportedMedia } from './problem.ts'
import { onlyOnce, readQueries } from './query.ts'
import { troubleOf } from './reply.ts'
import type { FileSigner } from './signature.ts'
import type { SyncSenders } from './sync-senders.ts'
import { type UploadOptions, readOptions, singleOptions } from './upload-options.ts'
import { baseUrl, viewOf } from './view.ts'

/** How long an upload waits for its turn. */
const turnTimeoutMs = 30_000
/** How long the source may take to notice that the client has gone, before the work is aborted. */
const noticeTimeMs = 1000

export interface Front extends Deps {
  gate: Gate
  senders: SyncSenders
  signer: FileSigner
}

export function addUploadRoute(app: Hono<Env>, front: Front): void {
  app.put('/v1/backing-images/:name', async (c) => {
    const name = c.req.param('name')
    assertName(name)
    assertRawBody(c, `curl -T FILE ${baseUrl(c, front.config)}/v1/backing-images/${name}`)
    const { label, ...others } = readQueries(c, ...singleOptions, 'label')
    const options = readOptions({ ...onlyOnce(others), label }, [
      ...readDigests('Repr-Digest', c.req.header('repr-digest')),
      ...readDigests('Content-Digest', c.req.header('content-digest')),
    ])
    const size = sizeOf(options, contentLength(c.env.incoming))
    const request = ingestRequest(c, front, name, { ...options, ...size })
    const open = () => bodyOf(c, front.config.idleTimeoutMs)
    return await inTurn(c, front, (signal) => ingest(c, front, { request, open, signal }))
  })
}

/** The body must be the image and nothing else; `command` is what does it right. */
function assertRawBody(c: Call, command: string): void {
  if (c.req.header('content-range') !== undefined) {
    // RFC 9110 §14.4: a part must never be taken for the whole.
    throw invalid(`A part of an image (Content-Range) is not taken. Send all of it: ${command}`)
  }
  const type = mediaType(c)
  if (type.startsWith('multipart/')) {
    throw unsupportedMedia(
      `The body of a PUT is the image itself, not a form. Send it with: ${command} (a form goes to ` +
        'POST /v1/backing-images, fields "name" and then "file").',
    )
  }
  if (type === 'application/x-www-form-urlencoded') {
    throw unsupportedMedia(
      `\`curl -d\` sends a form and loses bytes of the image. Send it with: ${command}`,
    )
  }
  assertIdentity(c)
}

/** The bytes are stored as they are; what an encoding hides could not be checked. */
export function assertIdentity(c: Call): void {
  // RFC 9112 §6.1: other codings may come before chunked, which is all that Node takes off.
  const transfer = c.req.header('transfer-encoding')?.trim().toLowerCase() ?? 'chunked'
  if (transfer !== 'chunked') {
    throw unsupportedMedia(
      `Transfer-Encoding is ${JSON.stringify(transfer.slice(0, 80))}; only chunked is taken.`,
    )
  }
  const encoding = c.req.header('content-encoding')?.trim().toLowerCase() ?? ''
  if (encoding !== '' && encoding !== 'identity') {
    throw unsupportedMedia(
      `Content-Encoding is ${JSON.stringify(encoding.slice(0, 80))}; send the image without one.`,
    )
  }
}

/** Lower case, without parameters. */
export function mediaType(c: Call): string {
  return (c.req.header('content-type') ?? '').replace(/;.*$/s, '').trim().toLowerCase()
}

function sizeOf(options: UploadOptions, length: number | undefined): { size?: number } {
  const size = options.size ?? length
  if (length !== undefined && size !== length) {
    throw invalid(`size is ${size}, but the body has ${length} bytes by its Content-Length.`)
  }
  return size === undefined ? {} : { size }
}

/** Throws what the head of the request tells to be wrong. */
export function ingestRequest(
  c: Call,
  { config }: Deps,
  name: string,
  options: UploadOptions,
): IngestRequest {
  const { size, version, description, decompress } = options
  assertSize(size, config.imageBytesMax)
  return {
    name,
    description,
    sizeMax: config.imageBytesMax,
    mustBeNew: mustBeNew(c),
    ...(version === undefined ? {} : { version }),
    ...(size === undefined ? {} : { size }),
    ...(decompress && { decompress }),
  }
}

export function assertSize(size: number | undefined, sizeMax: number): void {
  if (size === undefined || size <= sizeMax) return
  throw new ImageError(
    'invalid_argument',
    `The image has ${size} bytes; MAX_IMAGE_SIZE is ${sizeMax}.`,
    { reason: 'too_large', expected: String(sizeMax), actual: String(size) },
  )
}

/** `If-None-Match: *`: only when the name has no image (RFC 9110 §13.1.2). */
export function mustBeNew(c: Call): boolean {
  if (c.req.header('if-match') !== undefined) {
    throw invalid('If-Match means nothing here: an upload makes a new version and replaces none.')
  }
  const ifNoneMatch = c.req.header('if-none-match')?.trim()
  if (ifNoneMatch !== undefined && ifNoneMatch !== '*') {
    throw invalid('If-None-Match can only be * here: "only when the name has no image yet".')
  }
  return ifNoneMatch === '*'
}

/**
 * Runs `work` when it is its turn. Until then no byte is read and no `100 Continue` sent; who went
 * away meanwhile loses the turn. The signal that `work` gets is aborted when the server must stop.
 */
export async function inTurn(
  c: Call,
  front: Front,
  work: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  const { incoming, outgoing } = c.env
  const waiting = new AbortController()
  const stuck = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const onClose = () => {
    const left = new ImageError('cancelled', 'The client went away before its upload was over.', {
      reason: 'invalid_request',
    })
    waiting.abort(left)
    // What has come whole is finished. What has not ends by its source, which knows how much had
    // come; the signal is for storage that hangs and asks for no more bytes.
    if (!incoming.complete) timer = setTimeout(() => stuck.abort(left), noticeTimeMs)
  }
  outgoing.once('close', onClose)
  const queueing = follow(waiting.signal, front.stopping)
  const working = follow(stuck.signal, front.aborting, troubleOf(incoming))
  try {
    const leave = await front.gate.enter(turnTimeoutMs, queueing.signal)
    queueing.release()
    try {
      return await work(working.signal)
    } finally {
      leave()
    }
  } finally {
    queueing.release()
    working.release()
    clearTimeout(timer)
    outgoing.off('close', onClose)
  }
}

export interface Upload {
  request: IngestRequest
  open: () => Bytes
  signal: AbortSignal
}

/** Stores the image, says so in the log and the metrics, and answers 201, or 200 if it was there. */
export async function ingest(c: Call, front: Front, upload: Upload): Promise<Response> {
  const { request, open, signal } = upload
  const { name } = request
  const requestId = c.get('requestId')
  const timing = front.metrics.beginIngest(request.description.sourceType)
  try {
    const { image, created } = await front.store.ingest(request, () => timing.count(open()), signal)
    const seconds = timing.end('ready')
    const { version, uuid, size, format, currentChecksum: sha512 } = image
    front.log.info(
      { requestId, name, version, uuid, size, format, sha512, created, seconds },
      created ? 'image stored' : 'image was stored already',
    )
    const view = viewOf(image, baseUrl(c, front.config), front)
    return c.json(view, created ? 201 : 200, { Location: view.links.self })
  } catch (error) {
    const seconds = timing.end('failed')
    const reason = error instanceof ImageError ? error.reason : 'internal'
    const message = error instanceof Error ? error.message : String(error)
    front.log.warn({ requestId, name, reason, message, seconds }, 'upload refused')
    throw error
  }
}
