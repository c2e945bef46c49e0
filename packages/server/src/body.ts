// The body of a request, read from Node's own stream: no byte is asked for before it is wanted, none
// is missing at the end, and only a client that sends nothing while we wait is given up.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { type Bytes, ImageError, readAll } from '@backing-image/core'
import type { Call } from './front.ts'
import { invalid } from './problem.ts'

/** The most that a body which is not an image may have. */
const textBytesMax = 1024 * 1024

/** What Content-Length says; undefined where it says nothing. Node has checked its form. */
export function contentLength(incoming: IncomingMessage): number | undefined {
  const length = incoming.headers['content-length']
  return length === undefined ? undefined : Number(length)
}

/**
 * The bytes as they come. `100 Continue` is sent when the first is asked for. Ends only when the
 * whole body was there; throws `cancelled` when the client went away, or sent nothing for
 * `idleTimeoutMs` while a byte was being waited for.
 */
export async function* readBody(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  idleTimeoutMs: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  // Node hands over a request with any other expectation only after it has refused it (417).
  if (incoming.headers.expect !== undefined && !outgoing.headersSent) outgoing.writeContinue()
  const length = contentLength(incoming)
  let received = 0
  let isIdle = false
  let wake = () => {}
  const onChange = () => wake()
  const changes = ['readable', 'end', 'close', 'error'] as const
  for (const change of changes) incoming.on(change, onChange)
  try {
    for (;;) {
      const chunk = incoming.read() as Buffer | null
      if (chunk !== null) {
        received += chunk.length
        yield chunk
        continue
      }
      if (incoming.readableEnded) break
      if (incoming.destroyed || isIdle) throw incomplete(received, length, isIdle, idleTimeoutMs)
      await new Promise<void>((resolve) => {
        // Only this wait counts: neither our own slowness nor a queue is the client's fault.
        const timer = setTimeout(() => {
          isIdle = true
          resolve()
        }, idleTimeoutMs)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    if (length !== undefined && received !== length) {
      throw incomplete(received, length, false, idleTimeoutMs)
    }
  } finally {
    for (const change of changes) incoming.off(change, onChange)
  }
}

function incomplete(
  received: number,
  length: number | undefined,
  isIdle: boolean,
  idleTimeoutMs: number,
): ImageError {
  const what = isIdle ? `No byte came for ${idleTimeoutMs} ms` : 'The client ended the upload early'
  const of = length === undefined ? '' : ` of ${length}`
  return new ImageError(
    'cancelled',
    `${what}: ${received}${of} bytes had arrived. Nothing was stored: send it again.`,
    {
      reason: 'invalid_request',
      ...(length === undefined ? {} : { expected: String(length) }),
      actual: String(received),
    },
  )
}

export function bodyOf(c: Call, idleTimeoutMs: number): Bytes {
  return readBody(c.env.incoming, c.env.outgoing, idleTimeoutMs)
}

/** A body that is a document, as text; over 1 MiB is `too_large`, bad UTF-8 `invalid_request`. */
export async function readText(c: Call, idleTimeoutMs: number): Promise<string> {
  const length = contentLength(c.env.incoming) ?? 0
  if (length > textBytesMax) throw documentTooLarge()
  const body = await readAll(limited(bodyOf(c, idleTimeoutMs)), textBytesMax)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    throw invalid('The body is not UTF-8 text.')
  }
}

async function* limited(bytes: Bytes): Bytes {
  let length = 0
  for await (const chunk of bytes) {
    length += chunk.length
    if (length > textBytesMax) throw documentTooLarge()
    yield chunk
  }
}

function documentTooLarge(): ImageError {
  return new ImageError(
    'invalid_argument',
    `The body has over ${textBytesMax} bytes, the most that a document may have. An image is sent ` +
      'with `curl -T FILE .../v1/backing-images/NAME`.',
    { reason: 'too_large' },
  )
}
