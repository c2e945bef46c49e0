// How requests reach an S3 server: what certificates are trusted, and through which proxy.

import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectSecurely, rootCertificates } from 'node:tls'
import { proxyFor } from '@backing-image/core'
import { NodeHttpHandler, type NodeHttpHandlerOptions } from '@smithy/node-http-handler'
import { HttpsProxyAgent } from 'https-proxy-agent'

export interface Connection {
  /** URL of the server. */
  endpoint: string
  /** Certificates in PEM that are trusted beside the usual ones. */
  extraCa?: string | undefined
  httpProxy?: string | undefined
  httpsProxy?: string | undefined
  noProxy?: string | undefined
}

const connectTimeoutMs = 10_000
const silenceTimeoutMs = 30_000
/** More than the blocks that are under way at a time. */
const socketsMax = 128
const keeping = { keepAlive: true, maxSockets: socketsMax }

export function openConnections(connection: Connection): NodeHttpHandler {
  const { extraCa, httpProxy: http, httpsProxy: https, noProxy: no } = connection
  const endpoint = new URL(connection.endpoint)
  const proxy = proxyFor(endpoint, { http, https, no }) || undefined
  const common = { connectionTimeout: connectTimeoutMs, socketTimeout: silenceTimeoutMs }
  if (endpoint.protocol === 'https:') {
    const trust = extraCa ? { ca: [...rootCertificates, extraCa] } : {}
    const httpsAgent = proxy
      ? new TunnelAgent(proxy, trust)
      : new HttpsAgent({ ...keeping, ...trust })
    return new NodeHttpHandler({ ...common, httpsAgent })
  }
  if (!proxy) return new NodeHttpHandler({ ...common, httpAgent: new HttpAgent(keeping) })
  return new ForwardHandler(new URL(proxy), { ...common, httpAgent: new ForwardAgent(proxy) })
}

/** CONNECT (RFC 9110 §9.3.6). What is trusted is trusted of the endpoint, not of the proxy alone. */
class TunnelAgent extends HttpsProxyAgent<string> {
  readonly #trust: { ca?: string[] }

  constructor(proxy: string, trust: { ca?: string[] }) {
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

  constructor(proxy: string) {
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
