// A whole server for tests: the real store over a backend in memory, on a port of its own, and the
// few ways in which tests talk to it.

import { request as httpRequest } from 'node:http'
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http'
import { type Socket, connect } from 'node:net'
import { type Backend, type Image, ImageStore } from '@backing-image/core'
import { MemoryBackend } from '@backing-image/core/testing'
import { pino } from 'pino'
import type { Config } from '../config.ts'
import { openLonghorn, startLonghorn } from '../longhorn.ts'
import { Metrics } from '../metrics.ts'
import { Health, type HealthReport } from '../ready.ts'
import { scrubOptions } from '../scrub.ts'
import { startServer } from '../server.ts'
import { openSources, pullOptions, sourceTypesOf } from '../sources.ts'

export interface Serving<B extends Backend = MemoryBackend> {
  url: string
  port: number
  backend: B
  store: ImageStore
  health: Health
  /** Every line that was logged. */
  lines: Record<string, unknown>[]
  /** What went wrong where nobody waited for it. */
  problems: Error[]
  close(graceMs?: number): Promise<void>
  /** Keys in the backend that are not the catalog's own. */
  keys(prefix?: string): Promise<string[]>
}

export const testConfig: Config = {
  storage: { type: 'local', path: '/nowhere' },
  host: '127.0.0.1',
  port: 0,
  publicUrl: undefined,
  trustProxy: false,
  apiToken: undefined,
  apiReadToken: undefined,
  urlSigningKeys: [],
  tls: undefined,
  imageBytesMax: 64 * 1024 * 1024,
  concurrentIngestsMax: 8,
  idleTimeoutMs: 300,
  sourceIdleTimeoutMs: 300,
  // Sources of tests are on this machine.
  downloads: { allow: ['127.0.0.0/8', '::1'], deny: [] },
  syncSendersMax: 3,
  shutdownGraceMs: 1000,
  scrub: { bytesPerSecond: 2 ** 40 },
  longhorn: undefined,
  logLevel: 'info',
}

export async function serving(
  overrides: Partial<Config> = {},
  backend: MemoryBackend = new MemoryBackend(),
  options: Parameters<typeof startServer>[1] = {},
): Promise<Serving> {
  return await servingOn(backend, overrides, options)
}

/** The same over any backend. */
export async function servingOn<B extends Backend>(
  backend: B,
  overrides: Partial<Config> = {},
  options: Parameters<typeof startServer>[1] = {},
): Promise<Serving<B>> {
  const config = { ...testConfig, ...overrides }
  const metrics = new Metrics()
  const lines: Record<string, unknown>[] = []
  const log = pino(
    { level: 'debug' },
    { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) },
  )
  const client = openLonghorn(config)
  const sources = openSources(config, client)
  const pulls = pullOptions(config, sources, { log, metrics })
  const scrub = scrubOptions(config, log)
  const problems: Error[] = []
  const onProblem = (error: Error): void => void problems.push(error)
  const store = await ImageStore.open(backend, { pulls, scrub, onProblem })
  const health = new Health({ store, backend, intervalMs: 200 })
  await health.start()
  const sourceTypes = sourceTypesOf(sources)
  const intervals = { roundMost: 2500, roundLeast: 10, poll: 200, retry: { first: 20, most: 100 } }
  const longhorn = await startLonghorn(config, client, { store, log, onProblem, intervals })
  const version = '0.0.0-test'
  const deps = { store, config, log, metrics, health, longhorn, sourceTypes, version }
  const started = await startServer(deps, options)
  return {
    url: started.url,
    port: Number(new URL(started.url).port),
    backend,
    store,
    health,
    lines,
    problems,
    keys: (prefix = '') => keysOf(backend, prefix),
    close: async (graceMs = 0) => {
      await started.close(graceMs)
      await longhorn.stop()
      client?.close()
      await store.close()
    },
  }
}

export async function keysOf(backend: Backend, prefix = ''): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of backend.list(prefix)) keys.push(key)
  return keys
}

export interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
  text: string
}

export interface Asking {
  headers?: OutgoingHttpHeaders
  body?: Uint8Array | string
}

/** One request on a connection of its own. The path goes out as it is. */
export async function ask(
  server: Pick<Serving, 'port'>,
  method: string,
  path: string,
  asking: Asking = {},
): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const { body, headers = {} } = asking
    const request = httpRequest(
      {
        port: server.port,
        host: '127.0.0.1',
        method,
        path,
        agent: false,
        headers: body === undefined ? headers : { 'content-length': body.length, ...headers },
      },
      (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const whole = Buffer.concat(chunks)
          const status = response.statusCode ?? 0
          resolve({ status, headers: response.headers, body: whole, text: whole.toString() })
        })
      },
    )
    request.on('error', reject)
    request.end(body)
  })
}

export async function askJson(
  server: Pick<Serving, 'port'>,
  method: string,
  path: string,
  asking: Asking = {},
): Promise<{ status: number; headers: IncomingHttpHeaders; json: Reply }> {
  const { status, headers, text } = await ask(server, method, path, asking)
  return { status, headers, json: JSON.parse(text) as Reply }
}

/** What the body of some answer has: tests ask for what should be there. */
export type Reply = Viewed &
  HealthReport &
  Record<'code' | 'detail' | 'actual', string> & { data: Viewed[]; continue: string | null }

export type Viewed = Image & { links: { self: string; download: string; file: string | null } }

/** Uploads, and fails unless the answer is 201. */
export async function put(
  server: Pick<Serving, 'port'>,
  path: string,
  body: Uint8Array,
  headers: OutgoingHttpHeaders = {},
): Promise<Viewed> {
  const answer = await askJson(server, 'PUT', `/v1/backing-images/${path}`, {
    body,
    headers,
  })
  if (answer.status !== 201) throw new Error(`${answer.status} ${JSON.stringify(answer.json)}`)
  return answer.json
}

/** A connection of plain bytes. */
export interface Wire {
  socket: Socket
  /** All that has come so far. */
  received(): string
  /** Resolves when what came matches; rejects when the connection ends before. */
  until(pattern: RegExp): Promise<string>
  /** Resolves with all that came, when the other side has ended. */
  ended(): Promise<string>
}

export async function wire(server: Pick<Serving, 'port'>): Promise<Wire> {
  const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  let text = ''
  let isEnded = false
  const changed = new Set<() => void>()
  const tell = () => {
    for (const each of changed) each()
  }
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
    tell()
  })
  for (const end of ['end', 'close', 'error'] as const) {
    socket.on(end, () => {
      isEnded = true
      tell()
    })
  }
  const when = async (check: () => boolean): Promise<string> => {
    await new Promise<void>((resolve, reject) => {
      const look = () => {
        if (check()) resolve()
        else if (isEnded) reject(new Error(`the connection ended after ${JSON.stringify(text)}`))
        else return
        changed.delete(look)
      }
      changed.add(look)
      look()
    })
    return text
  }
  return {
    socket,
    received: () => text,
    until: (pattern) => when(() => pattern.test(text)),
    ended: () => when(() => isEnded),
  }
}

/** A form as it goes over the wire; a part without `file` is a plain field. */
export function form(
  parts: { name?: string; value: string | Uint8Array; filename?: string }[],
  boundary = 'xxBOUNDARYxx',
): { body: Buffer; headers: OutgoingHttpHeaders } {
  const pieces = parts.flatMap(({ name, value, filename }) => [
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data` +
        (name === undefined ? '' : `; name="${name}"`) +
        (filename === undefined
          ? ''
          : `; filename="${filename}"\r\nContent-Type: application/octet-stream`) +
        '\r\n\r\n',
    ),
    Buffer.from(value),
    Buffer.from('\r\n'),
  ])
  return {
    body: Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)]),
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
  }
}

/** What the promise rejects with; fails when it does not. */
export async function rejection(work: Promise<unknown>): Promise<unknown> {
  return await work.then(
    () => {
      throw new Error('it did not reject')
    },
    (error: unknown) => error,
  )
}

/** Waits for what comes about by itself; fails when it has not after some seconds. */
export async function eventually(check: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await check()) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error('it did not come about')
}
