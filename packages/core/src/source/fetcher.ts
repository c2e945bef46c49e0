// Asks HTTP servers that clients have named: only at addresses that the rules allow, with secrets
// only for whom they are meant, by way of the proxies, and never waiting for ever.

import { lookup } from 'node:dns/promises'
import {
  type ClientRequest,
  Agent as HttpAgent,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { type LookupFunction, type Socket, isIP } from 'node:net'
import { type SecureContext, createSecureContext, rootCertificates } from 'node:tls'
import { ImageError } from '../errors.ts'
import { type AddressRules, hostOf } from './address-rules.ts'
import { type Answer, type Origin, answerOf } from './answer.ts'
import { type Credential, assertCredential } from './credential.ts'
import { SourceError, sourceFailure, statusFailure } from './failure.ts'
import { headOf } from './head.ts'
import { type Proxies, openTunnel, proxyFor, requestTo } from './proxy.ts'
import { redactUrl } from './redact.ts'
import { locationOf, redirected } from './redirect.ts'
import { Watch } from './watch.ts'

export interface ResolvedAddress {
  address: string
  family: number
}

export interface FetcherOptions {
  rules: AddressRules
  /** How long nothing may come while something is wanted, in milliseconds. */
  idleTimeoutMs: number
  /** PEM certificates that are trusted beside the usual ones. */
  extraCa?: string
  proxies?: Proxies
  /** All addresses of a name; as the system resolves it when absent. */
  resolve?: (host: string) => Promise<ResolvedAddress[]>
}

export interface FetchOptions {
  /** Nothing secret: they go to every host that the URL leads to. */
  headers?: Record<string, string>
  credential?: Credential | undefined
  signal?: AbortSignal
  /** Never by way of a proxy: for other managers. */
  isDirect?: boolean
  /** Answers beside 2xx that are not failures, such as 416. */
  expected?: readonly number[]
}

const redirectsMax = 10
const redirects = new Set([301, 302, 303, 307, 308])
const headBytesMax = 32 * 1024
/** Per address of a name that has several. Node's own quarter of a second is short for far servers. */
const attemptTimeoutMs = 2_500
/** How long a connection is kept that nobody uses, and how many of them for one host. */
const keepMs = 10_000
const keptSocketsMax = 8
const userAgent = 'backing-image-manager'

export class Fetcher {
  readonly #options: FetcherOptions
  readonly #trust: SecureContext
  readonly #http: HttpAgent
  readonly #https: HttpsAgent
  readonly #connecting: object

  constructor(options: FetcherOptions) {
    this.#options = options
    const { extraCa } = options
    this.#trust = createSecureContext(extraCa ? { ca: [...rootCertificates, extraCa] } : {})
    this.#connecting = {
      lookup: this.#lookup,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: attemptTimeoutMs,
      secureContext: this.#trust,
      rejectUnauthorized: true,
    }
    const kept = { keepAlive: true, maxFreeSockets: keptSocketsMax, timeout: keepMs }
    this.#http = new HttpAgent({ ...kept, ...this.#connecting })
    this.#https = new HttpsAgent({ ...kept, ...this.#connecting })
  }

  /**
   * GETs `url`, at the end of its redirects, and resolves with the head. Throws a SourceError, which
   * tells whether to try again, the reason of the signal, or `invalid_argument` for what is refused:
   * an address, a credential that is not meant for the host.
   */
  async get(url: URL, options: FetchOptions = {}): Promise<Answer> {
    const { idleTimeoutMs } = this.#options
    const watch = new Watch({
      idleTimeoutMs,
      idle: () => idleFailure(url, idleTimeoutMs),
      ...(options.signal && { signal: options.signal }),
    })
    try {
      watch.signal.throwIfAborted()
      return await this.#follow(url, options, watch)
    } catch (error) {
      watch.end()
      throw watch.signal.aborted ? watch.signal.reason : error
    }
  }

  /** Closes the connections that nobody uses. */
  close(): void {
    this.#http.destroy()
    this.#https.destroy()
  }

  async #follow(url: URL, options: FetchOptions, watch: Watch): Promise<Answer> {
    let at = url
    let { credential } = options
    if (credential) assertCredential(credential, url)
    for (let count = 0; count <= redirectsMax; count += 1) {
      const message = await this.#hop(at, { ...options, credential }, watch).catch((error) => {
        throw count === 0 ? error : redirected(error, url)
      })
      const status = message.statusCode ?? 0
      if (!redirects.has(status)) {
        const origin = { location: at, isWithCredential: credential !== undefined }
        return accept(message, origin, { watch, expected: options.expected ?? [] })
      }
      message.destroy()
      const next = locationOf(message, at)
      // For good: who may answer for this origin has not been asked for the secret of another.
      if (next.origin !== at.origin) credential = undefined
      at = next
    }
    throw new SourceError(
      `Could not read ${redactUrl(url.href)}: it leads through more than ${redirectsMax} redirects.`,
      { isTransient: false },
    )
  }

  /** One request, and the head of its answer. */
  async #hop(url: URL, options: FetchOptions, watch: Watch): Promise<IncomingMessage> {
    const { rules, proxies } = this.#options
    rules.assertUrl(url)
    const proxy = options.isDirect ? undefined : proxyFor(url, proxies ?? {})
    const headers = {
      ...options.credential?.headers,
      ...options.headers,
      'accept-encoding': 'identity',
      'user-agent': userAgent,
    }
    watch.expect()
    try {
      if (proxy === undefined) return await this.#direct(url, headers, watch)
      await this.#assertProxied(hostOf(url))
      return await this.#proxied(url, { headers, proxy, watch })
    } catch (error) {
      throw watch.signal.aborted ? watch.signal.reason : sourceFailure(error, url.href, proxy)
    } finally {
      watch.rest()
    }
  }

  async #direct(url: URL, headers: Record<string, string>, watch: Watch): Promise<IncomingMessage> {
    const start = (more: RequestOptions): ClientRequest =>
      (url.protocol === 'https:' ? requestHttps : requestHttp)({
        ...targetOf(url),
        headers,
        signal: watch.signal,
        maxHeaderSize: headBytesMax,
        ...more,
      })
    const request = start({ agent: url.protocol === 'https:' ? this.#https : this.#http })
    try {
      return await headOf(request, url.href, watch)
    } catch (error) {
      // The server has closed a kept connection just when it was used again (RFC 9112 §9.3.1).
      const hasAnswered = error instanceof SourceError
      if (!request.reusedSocket || hasAnswered || watch.signal.aborted) throw error
      return await headOf(start({ agent: false, ...this.#connecting }), url.href, watch)
    }
  }

  async #proxied(
    url: URL,
    { headers, proxy, watch }: { headers: Record<string, string>; proxy: string; watch: Watch },
  ): Promise<IncomingMessage> {
    const { signal } = watch
    const common = { signal, maxHeaderSize: headBytesMax }
    if (url.protocol === 'https:') {
      const { host, port } = targetOf(url)
      const trust = this.#trust
      const socket = await openTunnel({ proxy, host, port, trust, signal, headBytesMax })
      const createConnection = (): Socket => socket
      return await headOf(
        requestHttps({ ...common, ...targetOf(url), headers, createConnection }),
        url.href,
        watch,
      )
    }
    const { request, where, headers: ofProxy } = requestTo(proxy)
    return await headOf(
      request({
        ...common,
        ...where,
        // In full (RFC 9112 §3.2.2).
        path: `${url.origin}${url.pathname}${url.search}`,
        headers: { ...headers, ...ofProxy, host: url.host },
        agent: false,
        secureContext: this.#trust,
        rejectUnauthorized: true,
      } as RequestOptions),
      url.href,
      watch,
    )
  }

  /** What a proxy will connect to is not seen; what the name means here is. */
  async #assertProxied(host: string): Promise<void> {
    if (isIP(host) > 0) return
    const found = await this.#resolve(host).catch((error: unknown) => {
      if (error instanceof ImageError) throw error
      return []
    })
    if (found.length === 0) this.#options.rules.assertUnresolved(host)
  }

  /** All addresses of the host, each of them checked. */
  async #resolve(host: string): Promise<ResolvedAddress[]> {
    const { rules, resolve } = this.#options
    const found = await (resolve ? resolve(host) : lookup(host, { all: true, verbatim: true }))
    for (const { address } of found) rules.assertAddress(host, address)
    return found
  }

  /** Called for each new connection: what it goes to is what was checked. */
  readonly #lookup: LookupFunction = (host, options, callback) => {
    this.#resolve(host).then(
      (found) => {
        const usable = found.filter(({ family }) => !options.family || family === options.family)
        const [first] = usable
        if (!first) return callback(noAddress(host), '')
        if (options.all) return callback(null, usable)
        callback(null, first.address, first.family)
      },
      (error: NodeJS.ErrnoException) => callback(error, ''),
    )
  }
}

function noAddress(host: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${host} has no address`), { code: 'ENOTFOUND' })
}

function targetOf(url: URL): { host: string; port: number; path: string } {
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
  return { host: hostOf(url), port, path: `${url.pathname}${url.search}` }
}

function accept(
  message: IncomingMessage,
  origin: Origin,
  { watch, expected }: { watch: Watch; expected: readonly number[] },
): Answer {
  const { href } = origin.location
  const status = message.statusCode ?? 0
  const encoding = message.headers['content-encoding']?.trim().toLowerCase() ?? ''
  const transfer = message.headers['transfer-encoding']?.trim().toLowerCase() ?? ''
  const isFine = (status >= 200 && status < 300) || expected.includes(status)
  if (isFine && /^(identity|gzip|x-gzip|)$/.test(encoding) && /^(chunked|)$/.test(transfer)) {
    return answerOf(message, origin, watch)
  }
  message.destroy()
  if (!isFine) throw statusFailure(href, status, message.headers)
  const found = JSON.stringify((encoding || transfer).slice(0, 100))
  throw new SourceError(
    `Could not read ${redactUrl(href)}: it is encoded as ${found} although it was asked for as ` +
      'it is. Name a URL that gives the file itself.',
    { isTransient: false },
  )
}

function idleFailure(url: URL, idleTimeoutMs: number): SourceError {
  const text = `Could not read ${redactUrl(url.href)}: nothing came for ${idleTimeoutMs / 1000} s.`
  return new SourceError(text, { isTransient: true })
}
