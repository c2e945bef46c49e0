// Requests to a server: over node:http itself, which is faster than fetch for large bodies, knows
// "Expect: 100-continue" and ends no transfer that is merely slow.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { type Readable, addAbortSignal } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { rootCertificates } from 'node:tls'
import { asError } from '@backing-image/core'
import type { ClientConfig } from '../client-config.ts'
import { CommandError } from './terminal.ts'

/** A connection over which nothing moves for so long is given up; a disk may take its time to sync. */
const idleTimeoutMs = 600_000
/** The server holds its permission back for up to 30 s when it is busy; a proxy may never give it. */
const continueTimeoutMs = 35_000
const answerBytesMax = 64 * 1024 * 1024

type Headers = Record<string, string | number>

/** The server's refusal, in its own words. */
export class RequestError extends CommandError {
  override readonly name = 'RequestError'
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface Upload {
  bytes: Readable
  /** Bytes that will come, when that is known. */
  size?: number
  /** Told of every chunk on its way. */
  onSent: (lengthBytes: number) => void
}

export class Client {
  readonly #config: ClientConfig
  readonly #ca: string[] | undefined

  constructor(config: ClientConfig) {
    this.#config = config
    this.#ca = config.extraCaFile
      ? [...rootCertificates, readFileSync(config.extraCaFile, 'utf8')]
      : undefined
  }

  /** The server's base URL. */
  get url(): string {
    return this.#config.url
  }

  /** The JSON of a successful answer, undefined when it has no body; else throws a RequestError. */
  async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    if (body !== undefined) return await this.send(method, path, { text: JSON.stringify(body) })
    const request = this.#start(method, path, { accept: 'application/json' })
    request.end()
    return await this.#parse(await this.#succeeded(await this.#answer(request)))
  }

  /** The same for a body that is a text already, JSON unless another `type` is given. */
  async send<T>(
    method: string,
    path: string,
    { text, type = 'application/json' }: { text: string; type?: string },
  ): Promise<T> {
    const request = this.#start(method, path, {
      accept: 'application/json',
      'content-type': type,
      'content-length': Buffer.byteLength(text),
    })
    request.end(text)
    return await this.#parse(await this.#succeeded(await this.#answer(request)))
  }

  /** The text of a successful answer; else throws a RequestError. */
  async text(path: string): Promise<string> {
    return await this.#read(await this.open('GET', path))
  }

  /** A successful answer whose body is left to the caller; else throws a RequestError. */
  async open(method: string, path: string, headers: Headers = {}): Promise<IncomingMessage> {
    const request = this.#start(method, path, headers)
    request.end()
    return await this.#succeeded(await this.#answer(request))
  }

  /**
   * PUTs bytes, once the server has agreed to them. What it refuses meanwhile ends the sending; an
   * error of the bytes breaks the connection, so that the server does not take them for the whole.
   */
  async upload<T>(path: string, upload: Upload): Promise<T> {
    const { size } = upload
    const request = this.#start('PUT', path, {
      accept: 'application/json',
      'content-type': 'application/octet-stream',
      // RFC 9110 §10.1.1: not without content.
      ...(size === 0 ? {} : { expect: '100-continue' }),
      ...(size === undefined ? { 'transfer-encoding': 'chunked' } : { 'content-length': size }),
    })
    const sending = new AbortController()
    const answer = this.#answer(request).finally(() => sending.abort())
    // It is awaited below, after the bytes.
    answer.catch(() => {})
    try {
      request.flushHeaders()
      if (size !== 0) {
        await Promise.race([
          once(request, 'continue'),
          delay(continueTimeoutMs, undefined, { signal: sending.signal }),
        ]).catch(ignore)
      }
      await send(request, upload, sending.signal)
      const message = await this.#succeeded(await answer)
      return await this.#parse(message)
    } finally {
      request.destroy()
    }
  }

  #start(method: string, path: string, headers: Headers): ClientRequest {
    const { url, token } = this.#config
    const request = url.startsWith('https:') ? requestHttps : requestHttp
    return request(`${url}${path}`, {
      method,
      agent: false,
      timeout: idleTimeoutMs,
      ...(this.#ca && { ca: this.#ca }),
      headers: { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    })
  }

  #answer(request: ClientRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      request.on('response', resolve)
      request.on('error', (error) => reject(this.#explained(error)))
      // Node ends without an error what switches protocols.
      request.on('close', () => reject(this.#explained(new Error('closed without an answer'))))
      request.on('timeout', () => request.destroy(new Error('nothing came for ten minutes')))
    })
  }

  #explained(error: NodeJS.ErrnoException): CommandError {
    const { url } = this.#config
    const code = error.code ?? error.message
    const options = { cause: error }
    if (/^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/.test(code)) {
      const how = 'Start it with "backing-image-manager serve", or name another with --url.'
      return new CommandError(`No server answers at ${url} (${code}). ${how}`, options)
    }
    if (/CERT|SIGNATURE|ALTNAME/.test(code)) {
      const how = 'EXTRA_CA_FILE can name the certificate of the authority that signed it.'
      return new CommandError(`The certificate of ${url} is not trusted (${code}). ${how}`, options)
    }
    const how = 'Look at the log of the server and try again.'
    return new CommandError(`The connection to ${url} broke (${code}). ${how}`, options)
  }

  async #succeeded(message: IncomingMessage): Promise<IncomingMessage> {
    const status = message.statusCode ?? 0
    if (status >= 200 && status < 300) return message
    const text = await this.#read(message)
    message.destroy()
    const detail = detailOf(text) ?? `${this.url} answered ${status}.`
    // What the server can not know: how this program is given its token.
    const how = status === 401 ? ' Set API_TOKEN or API_TOKEN_FILE.' : ''
    throw new RequestError(status, `${detail}${how}`)
  }

  async #parse<T>(message: IncomingMessage): Promise<T> {
    const text = await this.#read(message)
    try {
      return JSON.parse(text === '' ? 'null' : text)
    } catch {
      const what = message.headers['content-type'] ?? 'an unknown kind of content'
      throw new CommandError(`${this.#config.url} answered ${what}, not JSON: is it the right URL?`)
    }
  }

  async #read(message: IncomingMessage): Promise<string> {
    const chunks: Uint8Array[] = []
    let length = 0
    try {
      for await (const chunk of message as AsyncIterable<Uint8Array>) {
        length += chunk.length
        if (length > answerBytesMax) throw new CommandError(`${this.url} answered too much.`)
        chunks.push(chunk)
      }
    } catch (error) {
      throw error instanceof CommandError ? error : this.#explained(asError(error))
    }
    return Buffer.concat(chunks).toString('utf8')
  }
}

/** Sends until the end, or until there is an answer: then the rest is of no use. */
async function send(request: ClientRequest, upload: Upload, answered: AbortSignal): Promise<void> {
  const { bytes, size, onSent } = upload
  let sent = 0
  try {
    // It also ends the waiting for somebody who types.
    addAbortSignal(answered, bytes)
    for await (const chunk of bytes as AsyncIterable<Uint8Array>) {
      if (!request.write(chunk)) await once(request, 'drain', { signal: answered })
      sent += chunk.length
      onSent(chunk.length)
    }
  } catch (error) {
    // The answer, or the broken connection, says more than what comes of it here.
    if (answered.aborted || request.destroyed) return
    throw error
  }
  if (size !== undefined && sent !== size) {
    throw new CommandError(
      `The file had ${size} bytes and now ${sent}: somebody writes to it. Try again when it is whole.`,
    )
  }
  request.end()
}

function ignore(): void {
  // Aborted: the answer, or its error, says why.
}

/** What a problem+json (RFC 9457) tells its reader to do. */
function detailOf(text: string): string | undefined {
  try {
    const problem: { detail?: unknown; title?: unknown } = JSON.parse(text)
    const told = problem.detail ?? problem.title
    return typeof told === 'string' ? told : undefined
  } catch {
    return undefined
  }
}
