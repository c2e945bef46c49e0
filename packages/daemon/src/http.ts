// What the two HTTP servers of a disk share: where they listen, and how errors are told (contract §2.1).

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type HttpBindings, getRequestListener } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { type Bytes, ImageError, asError } from '@backing-image/core'
import { type Context, Hono } from 'hono'
import { type Address, formatAddress } from './address.ts'
import type { Log } from './log.ts'

export type Call = Context<{ Bindings: HttpBindings }>
export type App = Hono<{ Bindings: HttpBindings }>

export interface Listening {
  port: number
  /** Cuts what is under way: clients of this protocol ask again. */
  close(): Promise<void>
}

const keepAliveTimeoutMs = 65_000
const headersTimeoutMs = 60_000
/** The most that a body which is no image may have. */
const textBytesMax = 1024 * 1024
/** How long the rest of one that is refused may go on. */
const discardTimeMs = 5_000

/** An app whose errors are one line of text. The path is matched as it was sent, with its escapes. */
export function createHttpApp(): App {
  const app: App = new Hono({
    getPath: (request) => request.url.replace(/^[a-z]+:\/\/[^/?#]*/, '').replace(/[?#].*$/, ''),
  })
  app.use(async (c, next) => {
    const { path } = c.req
    const clean = path.replaceAll(/\/{2,}/g, '/').replace(/(.)\/$/, '$1')
    if (clean === path) return await next()
    const [search = ''] = /\?[^#]*/.exec(c.req.url) ?? []
    return c.redirect(`${clean}${search}`, 301)
  })
  app.notFound((c) => tell(c, 404, '404 page not found'))
  app.onError((error, c) => tell(c, 500, error.message))
  return app
}

/** As Go's http.Error does it. */
export function tell(c: Context, status: 400 | 404 | 500 | 502, message: string): Response {
  return c.body(`${message}\n`, status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
  })
}

/** Resolves when it listens; rejects with the address where it can not. */
export async function startHttp(app: App, listen: Address, log: Log): Promise<Listening> {
  const answer = getRequestListener(app.fetch, {
    hostname: 'localhost',
    overrideGlobalObjects: false,
  })
  const server = createServer(
    { requestTimeout: 0, headersTimeout: headersTimeoutMs, keepAliveTimeout: keepAliveTimeoutMs },
    (incoming, outgoing) => {
      Promise.resolve(answer(incoming, outgoing)).catch((error: unknown) => {
        log.error({ err: asError(error) }, 'request failed')
        outgoing.destroy()
      })
    },
  )
  server.listen(listen.port, ...(listen.host === '' ? [] : [listen.host]))
  try {
    await once(server, 'listening')
  } catch (cause) {
    const where = formatAddress(listen)
    throw new ImageError('unavailable', `can not listen on ${where}: ${asError(cause).message}`, {
      cause,
    })
  }
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

/**
 * Sends bytes through Node's own stream; a client that goes, or a failure, ends in a cut connection. A
 * chunk has left before the next is asked for, so that its memory may be lent.
 */
export async function sendStream(
  c: Call,
  headers: Record<string, string | number>,
  open: (signal: AbortSignal) => Promise<Bytes>,
): Promise<Response> {
  const { outgoing } = c.env
  const reading = new AbortController()
  outgoing.once('close', () => reading.abort())
  const bytes = await open(reading.signal)
  outgoing.writeHead(200, headers)
  try {
    for await (const chunk of bytes) {
      if (outgoing.destroyed) break
      await sent(outgoing, chunk)
    }
    outgoing.end()
  } catch {
    outgoing.destroy()
  }
  return RESPONSE_ALREADY_SENT
}

async function sent(outgoing: HttpBindings['outgoing'], chunk: Uint8Array): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      outgoing.off('close', done)
      resolve()
    }
    outgoing.on('close', done)
    outgoing.write(chunk, done)
    if (outgoing.destroyed) done()
  })
}

/** A body of strings by name, such as credentials; empty where there is none. */
export async function readValues(c: Call): Promise<Record<string, string>> {
  const { incoming } = c.env
  const chunks: Buffer[] = []
  let length = 0
  const whole = { destroyOnReturn: false }
  for await (const chunk of incoming.iterator(whole) as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > textBytesMax) {
      // Who sends all before it listens must come to an end, too.
      incoming.resume()
      setTimeout(() => incoming.destroy(), discardTimeMs).unref()
      throw new ImageError('invalid_argument', `the body has over ${textBytesMax} bytes`)
    }
    chunks.push(chunk)
  }
  const text = Buffer.concat(chunks).toString('utf8').trim()
  if (text === '') return {}
  let found: unknown
  try {
    found = JSON.parse(text)
  } catch {
    throw new ImageError('invalid_argument', 'the body is no JSON')
  }
  if (found === null) return {}
  const isObject = typeof found === 'object' && !Array.isArray(found)
  const entries = isObject ? Object.entries(found as object) : []
  if (!isObject || entries.some(([, value]) => typeof value !== 'string')) {
    throw new ImageError('invalid_argument', 'the body is no object of strings')
  }
  return Object.fromEntries(entries) as Record<string, string>
}
