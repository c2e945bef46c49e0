// Answers to clients that still send: the answer goes out, then what comes is thrown away for a
// while, so that the client can read it. A close with unread bytes would reset the connection and
// may destroy the answer on its way (RFC 9112 §9.6).

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const discardTimeMaxMs = 10_000
const discardBytesMax = 256 * 1024 * 1024

/** True while the client has more to send than has been received. */
export function isStillSending(incoming: IncomingMessage): boolean {
  return !incoming.complete && !incoming.destroyed
}

/** Writes the whole answer and resolves when the connection may go. */
export async function answerAndDiscard(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  answer: Response,
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
  await discard(incoming)
  outgoing.end()
}

/** Until the stream has ended or gone, or the limits are reached. */
async function discard(stream: IncomingMessage | Socket): Promise<void> {
  let discarded = 0
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, discardTimeMaxMs)
    const done = () => {
      clearTimeout(timer)
      resolve()
    }
    stream.on('data', (chunk: Uint8Array) => {
      discarded += chunk.length
      if (discarded > discardBytesMax) done()
    })
    for (const end of ['end', 'close', 'error'] as const) stream.on(end, done)
    stream.resume()
    if (stream.readableEnded || stream.destroyed) done()
  })
}

/**
 * Answers what never became a request, such as a head of over 16 KiB, without a body: there is
 * nothing in it that a program could read.
 */
export function answerMalformed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request'
  // Half-closed: the client reads the answer, and we what it still sends.
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  void discard(socket).then(() => socket.destroy())
}
