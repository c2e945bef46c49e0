// A web server on loopback that misbehaves on purpose: it cuts, stalls, trickles, lies about ranges
// and changes its content, and knows what it was asked.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
  createServer,
} from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** How one answer goes wrong. */
export interface WebFault {
  /** Answered instead, without a body. */
  status?: number
  /** In place of those of the answer; undefined takes one away. */
  headers?: Record<string, string | undefined>
  /** The connection is broken after so many bytes of the body. */
  cutAfterBytes?: number
  /** The body ends well after so many bytes, whatever the head says of its range. */
  endAfterBytes?: number
  /** After so many bytes nothing more comes, and the connection stays. */
  stallAfterBytes?: number
  /** The body comes in pieces of so many bytes with pauses between them. */
  trickle?: { bytes: number; pauseMs: number }
  /** Everything is sent, whatever range was asked for. */
  ignoresRange?: boolean
  /** The condition is taken as met. */
  ignoresCondition?: boolean
  /** The body in place of the one that was asked for. */
  body?: Uint8Array
  /** Not even a head is sent. */
  isSilent?: boolean
}

export interface PageOptions {
  /** A strong ETag made of the content when absent; null for none. */
  etag?: string | null
  /** Last-Modified, as it is sent. */
  lastModified?: string
  /** How the end is told: Content-Length, chunks, or the end of the connection. */
  framing?: 'length' | 'chunked' | 'close'
  /** Asked for each request of the page, the first being 1. */
  fault?: (count: number, seen: Seen) => WebFault | undefined
}

/** A request as it came. */
export interface Seen {
  method: string
  /** Path and query; the whole URL when it was asked for as of a proxy. */
  path: string
  headers: IncomingHttpHeaders
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void

export interface WebOptions {
  /** 127.0.0.1 when absent. */
  host?: string
  /** Serves HTTPS with these PEM texts. */
  tls?: { cert: string; key: string }
}

export class Web {
  readonly requests: Seen[] = []
  readonly #handlers = new Map<string, Handler>()
  readonly #server: ReturnType<typeof createServer>
  readonly #options: WebOptions

  private constructor(options: WebOptions) {
    this.#options = options
    const handle: Handler = (request, response) => this.#handle(request, response)
    this.#server = options.tls ? createSecureServer(options.tls, handle) : createServer(handle)
  }

  static async start(options: WebOptions = {}): Promise<Web> {
    const web = new Web(options)
    web.#server.listen(0, options.host ?? '127.0.0.1')
    await once(web.#server, 'listening')
    return web
  }

  async stop(): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** The URL of a path; `host` in place of the address, such as `localhost`. */
  url(path: string, host?: string): URL {
    const { host: own = '127.0.0.1', tls } = this.#options
    const name = host ?? (own.includes(':') ? `[${own}]` : own)
    return new URL(path, `${tls ? 'https' : 'http'}://${name}:${this.port}`)
  }

  /** The requests of a path, without regard to its query. */
  seen(path: string): Seen[] {
    return this.requests.filter((each) => pathOf(each.path) === path)
  }

  /** Answers a path with what `handler` does. */
  on(path: string, handler: Handler): URL {
    this.#handlers.set(path, handler)
    return this.url(path)
  }

  redirect(path: string, location: string | URL, status: number = 302): URL {
    return this.on(path, (_, response) => {
      response.writeHead(status, { location: String(location) }).end()
    })
  }

  /** Serves a content with ranges and conditions, as far as its faults let it. */
  serve(path: string, content: Uint8Array, options: PageOptions = {}): URL {
    let count = 0
    return this.on(path, (request, response) => {
      count += 1
      const fault = options.fault?.(count, seenOf(request)) ?? {}
      void answer(request, response, { content: fault.body ?? content, options, fault })
    })
  }

  #handle(request: IncomingMessage, response: ServerResponse): void {
    const seen = seenOf(request)
    this.requests.push(seen)
    const handler = this.#handlers.get(pathOf(seen.path))
    if (handler) handler(request, response)
    else response.writeHead(404).end()
  }
}

function seenOf({ method = '', url = '', headers }: IncomingMessage): Seen {
  return { method, path: url, headers }
}

function pathOf(path: string): string {
  return new URL(path, 'http://any').pathname
}

interface Answering {
  content: Uint8Array
  options: PageOptions
  fault: WebFault
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { content, options, fault }: Answering,
): Promise<void> {
  if (fault.isSilent) return
  const { framing = 'length', lastModified } = options
  const etag = options.etag === undefined ? etagOf(content) : options.etag
  const start = startOf(request, { content, etag, lastModified, fault })
  const isPart = start !== undefined && start < content.length
  const body = content.subarray(isPart ? start : 0)
  const of = start === undefined || isPart ? {} : { 'content-range': `bytes */${content.length}` }
  const range = `bytes ${start}-${content.length - 1}/${content.length}`
  const headers = {
    ...(etag === null ? {} : { etag }),
    ...(lastModified === undefined ? {} : { 'last-modified': lastModified }),
    ...(framing === 'length' ? { 'content-length': String(body.length) } : {}),
    ...(framing === 'close' ? { connection: 'close' } : {}),
    ...(isPart ? { 'content-range': range } : of),
    ...fault.headers,
  }
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) response.setHeader(name, value)
  }
  // Without it the end of the connection is the end of the body.
  if (framing === 'close') response.useChunkedEncodingByDefault = false
  const isOut = start !== undefined && !isPart
  response.statusCode = fault.status ?? (isOut ? 416 : isPart ? 206 : 200)
  if (isOut || (fault.status !== undefined && fault.status >= 300)) {
    response.removeHeader('content-length')
    response.end()
    return
  }
  await send(response, body, fault)
}

/** The first byte of the range to answer with; undefined for the whole. */
function startOf(
  { headers }: IncomingMessage,
  page: {
    content: Uint8Array
    etag: string | null
    lastModified: string | undefined
    fault: WebFault
  },
): number | undefined {
  const [, start] = /^bytes=([0-9]+)-$/.exec(headers.range ?? '') ?? []
  const condition = headers['if-range']
  if (start === undefined || page.fault.ignoresRange) return undefined
  const isMet =
    condition === undefined || [page.etag, page.lastModified].includes(String(condition))
  return isMet || page.fault.ignoresCondition ? Number(start) : undefined
}

async function send(response: ServerResponse, body: Uint8Array, fault: WebFault): Promise<void> {
  const { trickle, cutAfterBytes, stallAfterBytes, endAfterBytes } = fault
  const ends = [cutAfterBytes, stallAfterBytes, endAfterBytes].map((each) => each ?? Infinity)
  const length = Math.min(body.length, ...ends)
  const step = trickle?.bytes ?? 65_536
  response.flushHeaders()
  for (let offset = 0; offset < length; offset += step) {
    if (response.destroyed) return
    const piece = body.subarray(offset, Math.min(offset + step, length))
    // Told also when the connection has been broken.
    await new Promise<void>((resolve) => response.write(piece, () => resolve()))
    if (trickle) await delay(trickle.pauseMs)
  }
  if (cutAfterBytes === undefined && stallAfterBytes === undefined) response.end()
  // An end of the connection that comes after what was written, and no end of the body.
  if (cutAfterBytes !== undefined) response.socket?.destroySoon()
}

function etagOf(content: Uint8Array): string {
  return `"${createHash('sha1').update(content).digest('hex').slice(0, 16)}"`
}
