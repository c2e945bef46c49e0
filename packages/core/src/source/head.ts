// Sends a request and waits for the head of its answer: an end comes always, whatever is answered.

import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { statusFailure } from './failure.ts'
import type { Watch } from './watch.ts'

/** Each step has its own time. `href` is for messages. */
export async function headOf(
  request: ClientRequest,
  href: string,
  watch: Watch,
): Promise<IncomingMessage> {
  const { signal } = watch
  const leave = new AbortController()
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), leave)
      const refuse = (answer: IncomingMessage, socket: Duplex): void => {
        socket.on('error', () => {}).destroy()
        reject(statusFailure(href, answer.statusCode ?? 0, answer.headers))
      }
      // Without a listener Node destroys the request, and that without an error.
      request.on('upgrade', refuse)
      request.on('connect', refuse)
      request.on('response', resolve)
      request.on('error', reject)
      request.on('close', () => reject(brokenOff()))
      request.on('socket', (socket) => {
        if (!socket.connecting) return
        socket.once('connect', () => watch.expect())
        socket.once('secureConnect', () => watch.expect())
      })
      request.end()
    })
  } finally {
    leave.abort()
  }
}

/** As Node says it where it does. */
export function brokenOff(): NodeJS.ErrnoException {
  return Object.assign(new Error('It was closed without an answer'), { code: 'ECONNRESET' })
}
