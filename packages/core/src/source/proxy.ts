// Which proxy leads to a URL, and the tunnel through one (CONNECT, RFC 9110 §9.3.6).

import { type IncomingMessage, type RequestOptions, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { type Socket, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { type SecureContext, type TLSSocket, connect as connectSecurely } from 'node:tls'
import { contains, parseAddress, parseNetwork } from './address.ts'
import { proxyFailure } from './failure.ts'
import { brokenOff } from './head.ts'

export interface Proxies {
  /** URL of the proxy for http and for https targets; it may hold a user and a password. */
  http?: string | undefined
  https?: string | undefined
  /** Host names, `.suffixes`, addresses, CIDRs or `*`, with or without a port, separated by commas. */
  no?: string | undefined
}

/** The proxy that leads to `url`; undefined where there is none, or `no` names the host. */
export function proxyFor(url: URL, proxies: Proxies): string | undefined {
  const { protocol, hostname, port } = url
  const isSecure = protocol === 'https:'
  const ownPort = port || (isSecure ? '443' : '80')
  const address = parseAddress(hostname)
  const isDirect = (proxies.no ?? '')
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => {
      const network = parseNetwork(entry)
      if (network) return address !== undefined && contains(network, address)
      const [, name = '', onlyPort = ''] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? []
      if (onlyPort !== '' && onlyPort !== ownPort) return false
      if (name === '*') return true
      const suffix = name.replace(/^\*?\.?/, '')
      return suffix !== '' && (hostname === suffix || hostname.endsWith(`.${suffix}`))
    })
  if (isDirect) return undefined
  return isSecure ? proxies.https : proxies.http
}

export interface Tunnel {
  proxy: string
  /** Where it leads to. */
  host: string
  port: number
  trust: SecureContext
  signal: AbortSignal
  headBytesMax: number
}

/** How a request is made to a proxy: where it is, and what it is told of us. */
export function requestTo(proxy: string): {
  request: typeof requestHttp
  where: Pick<RequestOptions, 'host' | 'port'>
  headers: Record<string, string>
} {
  const { protocol, hostname, port, username, password } = new URL(proxy)
  const isSecure = protocol === 'https:'
  const secrets = [username, password].map(decoded).join(':')
  const basic = `Basic ${Buffer.from(secrets).toString('base64')}`
  return {
    request: isSecure ? requestHttps : requestHttp,
    where: { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port || (isSecure ? 443 : 80) },
    headers: username || password ? { 'proxy-authorization': basic } : {},
  }
}

/** A password may hold a "%" that begins nothing. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** A TLS connection through the proxy. What is trusted is trusted of the far end, and of the proxy. */
export async function openTunnel(tunnel: Tunnel): Promise<TLSSocket> {
  const { host, trust: secureContext } = tunnel
  const socket = await dig(tunnel)
  return connectSecurely({
    socket,
    host,
    ...(isIP(host) === 0 && { servername: host }),
    secureContext,
    rejectUnauthorized: true,
  })
}

function dig({ proxy, host, port, trust, signal, headBytesMax }: Tunnel): Promise<Duplex> {
  const { request: start, where, headers } = requestTo(proxy)
  const authority = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  const request = start({
    ...where,
    method: 'CONNECT',
    path: authority,
    headers: { host: authority, ...headers },
    agent: false,
    signal,
    maxHeaderSize: headBytesMax,
    secureContext: trust,
    rejectUnauthorized: true,
  } as RequestOptions)
  return new Promise((resolve, reject) => {
    request.on('connect', (answer: IncomingMessage, socket: Socket) => {
      const status = answer.statusCode ?? 0
      if (status >= 200 && status < 300) return resolve(socket)
      socket.destroy()
      reject(proxyFailure({ proxy, target: authority }, status, answer.headers))
    })
    request.on('error', reject)
    request.on('close', () => reject(brokenOff()))
    request.end()
  })
}
