// Longhorn's downloader, as demanding as the real one (contract §2.6, §3.5): HEAD must be 200, lengths
// must agree, no stall, no credentials, no second try, and in the end whole sectors.

import { createHash } from 'node:crypto'
import { type IncomingMessage, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'

export interface Downloaded {
  url: string
  size: number
  sha512: string
  /** What Longhorn would say of it. */
  failure?: string
}

interface Options {
  expectedChecksum: string
  stallTimeoutMs: number
  signal: AbortSignal
}

const sectorBytes = 512
const redirectsMax = 20

export async function download(url: string, options: Options): Promise<Downloaded> {
  const hash = createHash('sha512')
  let size = 0
  const over = (failure?: string): Downloaded => ({
    url,
    size,
    sha512: hash.copy().digest('hex'),
    ...(failure !== undefined && { failure }),
  })
  try {
    const head = await ask('HEAD', url, options)
    head.resume()
    if (head.statusCode !== 200) return over(`failed to HEAD: ${head.statusCode}`)
    const message = await ask('GET', url, options)
    if (message.statusCode !== 200) return over(`failed to GET: ${message.statusCode}`)
    const chunks = message[Symbol.asyncIterator]() as AsyncIterator<Buffer>
    for (;;) {
      const stall = pause(options.stallTimeoutMs, 'stall' as const, { ref: false })
      const step = await Promise.race([chunks.next(), stall])
      if (step === 'stall') {
        message.destroy()
        return over(`no data for ${options.stallTimeoutMs} ms`)
      }
      if (step.done) break
      hash.update(step.value)
      size += step.value.length
    }
    const told = head.headers['content-length']
    if (told !== undefined && Number(told) !== size) {
      return over(`processed data size ${size} does not match the expected file size ${told}`)
    }
    const { sha512 } = over()
    if (options.expectedChecksum !== '' && options.expectedChecksum !== sha512) {
      return over(`the expected checksum ${options.expectedChecksum} doesn't match ${sha512}`)
    }
    if (size % sectorBytes !== 0) {
      return over(`the file size ${size} should be a multiple of ${sectorBytes} bytes`)
    }
    return over()
  } catch (error) {
    return over((error as Error).message)
  }
}

/** Follows redirects; every host name is this machine, as if a cluster's DNS said so. */
async function ask(method: string, url: string, { signal }: Options): Promise<IncomingMessage> {
  let at = url
  for (let count = 0; count < redirectsMax; count += 1) {
    const { port, pathname, search, host } = new URL(at)
    const message = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { host, 'user-agent': 'Go-http-client/1.1' }
      const options = { host: '127.0.0.1', port, path: pathname + search, method, headers, signal }
      request({ ...options, agent: false }, resolve)
        .on('error', reject)
        .end()
    })
    const { location } = message.headers
    if (location === undefined || (message.statusCode ?? 0) < 300) return message
    message.resume()
    at = new URL(location, at).href
  }
  throw new Error('too many redirects')
}
