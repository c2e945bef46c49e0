// Answers to clients that still send: the answer goes out, then what comes is thrown away for a
// while, so that the client can read it. A close with unread bytes would reset the connection and
// may destroy the answer on its way (RFC 9112 §9.6).

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { ImageError } from '@backing-image/core'

const discardTimeMs = 10_000
const discardBytesMax = 256 * 1024 * 1024

/** True while the client has more to send than has been received. */
export function isStillSending(incoming: IncomingMessage): boolean {
  return !incoming.complete && !incoming.destroyed
}

/** Writes the whole answer and resolves when the connection may go, after `timeMaxMs` at the latest. */
export async function answerAndDiscard(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  answer: Response,
  timeMaxMs: number = discardTimeMs,
): Promise<void> {
  const body = Buffer.from(await answer.arrayBuffer())
  outgoing.writeHead(answer.status, {
    ...Object.fromEntries(answer.headers),
    // RFC 9110 §8.6: not with 204.
    ...(answer.status === 204 ? {} : { 'content-length': body.length }),
    connection: 'close',
  })
  // The head and the body leave at once; only the end of the answer, which closes, has to wait.
  if (body.length > 0) outgoing.write(body)
  else outgoing.flushHeaders()
  await discard(incoming, timeMaxMs, troubleOf(incoming))
  outgoing.end()
}

/** Until the stream has ended or gone, no more can come, or the limits are reached. */
async function discard(
  stream: IncomingMessage | Socket,
  timeMaxMs: number,
  trouble?: AbortSignal,
): Promise<void> {
  let discarded = 0
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, timeMaxMs)
    const done = () => {
      clearTimeout(timer)
      resolve()
    }
    stream.on('data', (chunk: Uint8Array) => {
      discarded += chunk.length
      if (discarded > discardBytesMax) done()
    })
    for (const end of ['end', 'close', 'error'] as const) stream.on(end, done)
    trouble?.addEventListener('abort', done)
    stream.resume()
    if (stream.readableEnded || stream.destroyed || trouble?.aborted) done()
  })
}

interface UnderWay {
  incoming: IncomingMessage
  outgoing: ServerResponse
  /** Aborted when it turns out that the request was not what its head said. */
  trouble: AbortController
}

/** The last request of each connection, while it is under way. */
const underWay = new WeakMap<Socket, UnderWay>()

/** What requests gave as Host that is none. */
const badHosts = new WeakMap<IncomingMessage, string>()

/** The Host header of the request, when it is none. */
export function badHostOf(incoming: IncomingMessage): string | undefined {
  return badHosts.get(incoming)
}

/** RFC 9112 §3.2: a host, and perhaps a port; what a URL parser would read in another way is none. */
function isHost(host: string): boolean {
  const url = `http://${host}`
  if (!/^[A-Za-z0-9._:[\]-]+$/.test(host) || !URL.canParse(url)) return false
  return new URL(url).hostname === host.replace(/:\d+$/, '').toLowerCase()
}

/**
 * To be called for every request before it is answered, so that what is malformed behind its head
 * finds it, and a Host that is none comes as far as our own answers.
 */
export function watchRequest(incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { socket, headers } = incoming
  if (headers.host && !isHost(headers.host)) {
    badHosts.set(incoming, headers.host)
    // Else no request could be made of it, and the answer would have neither id nor reason.
    headers.host = 'localhost'
  }
  const request = { incoming, outgoing, trouble: new AbortController() }
  underWay.set(socket, request)
  outgoing.once('close', () => {
    if (underWay.get(socket) === request) underWay.delete(socket)
  })
}

/** Aborted when more comes than the request said, and it is no other request. */
export function troubleOf(incoming: IncomingMessage): AbortSignal | undefined {
  return underWay.get(incoming.socket)?.trouble.signal
}

/**
 * Deals with bytes that are no HTTP. What never became a request, such as a head of over 16 KiB, is
 * answered without a body: there is nobody in sight who could read it.
 */
export function answerMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const request = underWay.get(socket)
  // Another answer in the middle of one would become part of its bytes.
  if (request && (request.outgoing.headersSent || request.incoming.complete)) {
    if (!request.outgoing.headersSent) request.outgoing.setHeader('Connection', 'close')
    request.trouble.abort(
      new ImageError(
        'invalid_argument',
        'More bytes came than Content-Length says, and they are no other request. Nothing was stored.',
      ),
    )
    return
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request'
  const answer = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`
  // A body that broke off: its reader learns of it by the end of the connection.
  if (request) socket.end(answer, () => socket.destroy())
  else {
    // Half-closed: the client reads the answer, and we what it still sends.
    socket.end(answer)
    void discard(socket, discardTimeMs).then(() => socket.destroy())
  }
}
