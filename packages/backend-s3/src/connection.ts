// How requests reach the endpoint: connections that are kept, certificates, and proxies.

import { readFileSync } from 'node:fs'
import { Agent as HttpAgent, type AgentOptions } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { rootCertificates } from 'node:tls'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { HttpProxyAgent } from 'http-proxy-agent'
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
  const proxy = proxyFor(options)
  const keeping: AgentOptions = {
    keepAlive: true,
    maxSockets: socketsMax,
    maxFreeSockets: idleSocketsMax,
  }
  const trust = options.extraCaFile
    ? { ca: [...rootCertificates, readFileSync(options.extraCaFile, 'utf8')] }
    : {}
  const common = { connectionTimeout: connectTimeoutMs, logger: silence }
  if (!isSecure) {
    const httpAgent = proxy ? new HttpProxyAgent(proxy, keeping) : new HttpAgent(keeping)
    return new NodeHttpHandler({ ...common, httpAgent })
  }
  const secure = { ...keeping, ...trust }
  const httpsAgent = proxy ? new HttpsProxyAgent(proxy, secure) : new HttpsAgent(secure)
  return new NodeHttpHandler({ ...common, httpsAgent })
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

/** The proxy that leads to the endpoint; undefined where there is none. */
export function proxyFor(options: ConnectionOptions): string | undefined {
  const { protocol, hostname, port } = new URL(options.endpoint)
  const isSecure = protocol === 'https:'
  const endpointPort = port || (isSecure ? '443' : '80')
  const isDirect = (options.noProxy ?? '')
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => {
      const [, name = '', onlyPort = ''] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? []
      if (onlyPort !== '' && onlyPort !== endpointPort) return false
      if (name === '*') return true
      const suffix = name.replace(/^\*?\.?/, '')
      return suffix !== '' && (hostname === suffix || hostname.endsWith(`.${suffix}`))
    })
  if (isDirect) return undefined
  return isSecure ? options.httpsProxy : options.httpProxy
}
