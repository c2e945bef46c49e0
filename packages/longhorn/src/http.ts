// Requests to the Longhorn API: directly, never by way of a proxy, and none of them for ever.

import { type IncomingMessage, Agent as HttpAgent, request as requestHttp } from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { rootCertificates } from 'node:tls'

export interface HttpOptions {
  base: URL
  /** Sent as a bearer token. */
  token?: string
  /** PEM certificates that are trusted beside the usual ones. */
  extraCa?: string
  /** How long nothing may come, in milliseconds. */
  idleTimeoutMs: number
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'DELETE'
  /** Below the base URL, without a slash at the start. */
  path: string
  body?: object
  signal?: AbortSignal
}

export interface HttpAnswer {
  status: number
  message: IncomingMessage
}

const connectionsMax = 8

export class Http {
  readonly #options: HttpOptions
  readonly #agent: HttpAgent | HttpsAgent

  constructor(options: HttpOptions) {
    this.#options = options
    const { extraCa, base } = options
    const common = { keepAlive: true, maxSockets: connectionsMax }
    this.#agent =
      base.protocol === 'https:'
        ? new HttpsAgent({ ...common, ...(extraCa && { ca: [...rootCertificates, extraCa] }) })
        : new HttpAgent(common)
  }

  /** Of every request, also of those that others make, such as a WebSocket. */
  get headers(): Record<string, string> {
    const { token } = this.#options
    return {
      // With another one Longhorn answers browsers, with a page.
      accept: 'application/json',
      'user-agent': 'backing-image-manager',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    }
  }

  get agent(): HttpAgent | HttpsAgent {
    return this.#agent
  }

  /** The head of the answer, whose body the caller reads or destroys. */
  async ask({ method, path, body, signal }: HttpRequest): Promise<HttpAnswer> {
    const { base, idleTimeoutMs } = this.#options
    const url = new URL(path, base)
    const content = body === undefined ? undefined : JSON.stringify(body)
    const message = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = (url.protocol === 'https:' ? requestHttps : requestHttp)(url, {
        method,
        agent: this.#agent,
        headers: {
          ...this.headers,
          ...(content !== undefined && {
            'content-type': 'application/json',
            'content-length': String(Buffer.byteLength(content)),
          }),
        },
        ...(signal && { signal }),
      })
      // Of the socket: it goes on counting while the body is read.
      request.setTimeout(idleTimeoutMs, () =>
        request.destroy(new Error(`nothing came for ${idleTimeoutMs / 1000} s`)),
      )
      request.on('response', resolve)
      request.on('error', reject)
      request.end(content)
    })
    return { status: message.statusCode ?? 0, message }
  }

  close(): void {
    this.#agent.destroy()
  }
}
