// Requests to a receiver: directly, never by way of a proxy, over connections that are kept, and none
// of them for ever.

import { Agent, type IncomingMessage, request as requestHttp } from 'node:http'
import { ImageError } from '@backing-image/core'

export interface Question {
  method: 'GET' | 'POST'
  /** With its query. */
  verb: string
  body?: Buffer | undefined
  signal?: AbortSignal
}

export interface Answer {
  status: number
  text: string
}

/** Answers are some bytes; an error is a line. */
const answerBytesMax = 64 * 1024

/** One receiver. */
export class Peer {
  readonly #base: URL
  readonly #timeoutMs: number
  readonly #agent = new Agent({ keepAlive: true })

  /** Throws `invalid_argument` for what is no `host:port`. */
  constructor(address: string, timeoutMs: number) {
    const base = URL.canParse(`http://${address}`) ? new URL(`http://${address}`) : undefined
    if (!base || /[/@?#\s\\]/.test(address)) {
      throw new ImageError(
        'invalid_argument',
        `${JSON.stringify(address.slice(0, 300))} is no host:port to send a file to.`,
      )
    }
    this.#base = new URL('/v1-ssync/', base)
    this.#timeoutMs = timeoutMs
  }

  /**
   * Rejects with `unavailable` where there is no whole answer in time. When it resolves nothing reads
   * the body any more.
   */
  async ask({ method, verb, body, signal }: Question): Promise<Answer> {
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise((resolve, reject) => {
        const request = requestHttp(new URL(verb, this.#base), {
          method,
          agent: this.#agent,
          // Without a type, as Longhorn's own sender.
          headers: { accept: 'application/json', 'content-length': String(body?.length ?? 0) },
          ...(signal && { signal }),
        })
        timer = setTimeout(() => {
          request.destroy(new Error(`it took over ${this.#timeoutMs / 1000} s`))
        }, this.#timeoutMs)
        request.on('error', reject)
        // Nothing reads the body any more when it has gone, or the connection has.
        const sent = new Promise<void>((done) => {
          request.once('finish', done).once('close', done)
        })
        request.on('response', (message) => {
          Promise.all([textOf(message), sent]).then(
            ([text]) => resolve({ status: message.statusCode ?? 0, text }),
            reject,
          )
        })
        request.end(body)
      })
    } catch (error) {
      signal?.throwIfAborted()
      const [why] = String(error instanceof Error ? error.message : error).split('\n')
      throw new ImageError(
        'unavailable',
        `The receiver at ${this.#base.host} did not answer: ${why}. Look whether it waits there.`,
        { cause: error },
      )
    } finally {
      clearTimeout(timer)
    }
  }

  /** Closes the connections that are kept. */
  close(): void {
    this.#agent.destroy()
  }
}

async function textOf(message: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of message.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk
    if (text.length > answerBytesMax) throw new Error('its answer is too long')
  }
  return text
}
