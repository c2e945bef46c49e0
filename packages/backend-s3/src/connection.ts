// How requests reach the endpoint: connections that are kept, certificates, and proxies.

import { readFileSync } from 'node:fs'
import { Agent as HttpAgent, type AgentOptions } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectSecurely, rootCertificates } from 'node:tls'
import { proxyFor } from '@backing-image/core'
import { NodeHttpHandler, type NodeHttpHandlerOptions } from '@smithy/node-http-handler'
import { HttpsProxyAgent } from 'https-proxy-agent'

export interface ConnectionOptions {
  /** URL of the S3 server, without a bucket. */
  endpoint: string
  /** PEM file of certificates that are trusted beside the usual ones. */
  extraCaFile?: string
  /** URL of the proxy for an endpoint of that scheme, unless `noProxy` names its host. */
  httpProxy?: string
  httpsProxy?: string
  /** Host names, `.suffixes` or `*`, with or without a port, separated by commas. */
  noProxy?: string
}

const connectTimeoutMs = 3_000
/**
 * A reader that is slow holds its connection, so that a small number would let few of them stop
 * everything else; it only keeps a flood from using up the descriptors of the process.
 */
const socketsMax = 1_024
const idleSocketsMax = 64

export function openConnections(options: ConnectionOptions): NodeHttpHandler {
  const isSecure = new URL(options.endpoint).protocol === 'https:'
  const { httpProxy: http, httpsProxy: https, noProxy: no } = options
  const proxy = proxyFor(new URL(options.endpoint), { http, https, no })
  const keeping: AgentOptions = {
    keepAlive: true,
    maxSockets: socketsMax,
    maxFreeSockets: idleSocketsMax,
  }
  const trust = options.extraCaFile
    ? { ca: [...rootCertificates, readFileSync(options.extraCaFile, 'utf8')] }
    : {}
  const common = { connectionTimeout: connectTimeoutMs, logger: silence }
  if (isSecure) {
    const httpsAgent = proxy
      ? new TunnelAgent(proxy, keeping, trust)
      : new HttpsAgent({ ...keeping, ...trust })
    return new NodeHttpHandler({ ...common, httpsAgent })
  }
  if (!proxy) return new NodeHttpHandler({ ...common, httpAgent: new HttpAgent(keeping) })
  return new ForwardHandler(new URL(proxy), {
    ...common,
    httpAgent: new ForwardAgent(proxy, keeping),
  })
}

/** CONNECT (RFC 9110 §9.3.6). What is trusted is trusted of the endpoint, not of the proxy alone. */
class TunnelAgent extends HttpsProxyAgent<string> {
  readonly #trust: { ca?: string[] }

  constructor(proxy: string, keeping: AgentOptions, trust: { ca?: string[] }) {
    super(proxy, { ...keeping, ...trust })
    this.#trust = trust
  }

  override async connect(...[request, options]: Parameters<HttpsProxyAgent<string>['connect']>) {
    return await super.connect(request, { ...options, ...this.#trust })
  }
}

/** Connections to a proxy that are kept for requests to any host. */
class ForwardAgent extends HttpAgent {
  readonly #proxy: URL

  constructor(proxy: string, keeping: AgentOptions) {
    super(keeping)
    this.#proxy = new URL(proxy)
  }

  override createConnection(): Duplex {
    const { protocol, hostname, port } = this.#proxy
    const isSecure = protocol === 'https:'
    const host = hostname.replace(/^\[|\]$/g, '')
    const to = { host, port: Number(port || (isSecure ? 443 : 80)) }
    return isSecure ? connectSecurely({ ...to, servername: host }) : connect(to)
  }
}

/** Says in full where a request goes (RFC 9112 §3.2.2), once it is signed. */
class ForwardHandler extends NodeHttpHandler {
  readonly #headers: Record<string, string>

  constructor({ username, password }: URL, options: NodeHttpHandlerOptions) {
    super(options)
    const credentials = [username, password].map(decodeURIComponent).join(':')
    const basic = `Basic ${Buffer.from(credentials).toString('base64')}`
    this.#headers = username || password ? { 'Proxy-Authorization': basic } : {}
  }

  override async handle(...[request, options]: Parameters<NodeHttpHandler['handle']>) {
    const { protocol, hostname, port, path } = request
    request.path = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path}`
    Object.assign(request.headers, this.#headers)
    return await super.handle(request, options)
  }
}

function nothing(): void {}
type Log = (...content: unknown[]) => void
/** Nothing of the SDK's goes to stderr: what matters is an error. */
export const silence: Record<'trace' | 'debug' | 'info' | 'warn' | 'error', Log> = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
}
