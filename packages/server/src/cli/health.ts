// `health`: whether the server of this container is alive, for HEALTHCHECK, in an image without curl.

import { get as getHttp } from 'node:http'
import { get as getHttps } from 'node:https'
import { asError } from '@backing-image/core'
import type { Command } from 'commander'
import { type Config, readConfig } from '../config.ts'
import { CommandError, type Terminal } from './terminal.ts'

const timeoutMs = 3000

export function addHealth(program: Command, terminal: Terminal): void {
  program
    .command('health')
    .description('ask the server of this machine whether it is alive (for HEALTHCHECK)')
    .addHelpText(
      'after',
      '\nExample, in a Dockerfile:\n  HEALTHCHECK CMD ["backing-image-manager", "health"]',
    )
    .action(async () => {
      const config = readable(terminal)
      const status = await askOwnServer(config, '/health').catch((error: unknown) => {
        throw new CommandError(`${ownUrl(config)} is not alive: ${asError(error).message}.`)
      })
      if (status.code !== 200) throw new CommandError(`${ownUrl(config)} answered ${status.code}.`)
    })
}

/** Docker knows 0 and 1 only: a bad configuration is 1 here. */
function readable(terminal: Terminal): Config {
  try {
    return readConfig(terminal.env)
  } catch (error) {
    throw new CommandError(asError(error).message, { cause: error })
  }
}

/** Where a server with this configuration can be reached from this machine. */
export function ownUrl({ host, port, tls }: Config): string {
  const everywhere = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  const name = everywhere.includes(':') ? `[${everywhere}]` : everywhere
  return `${tls ? 'https' : 'http'}://${name}:${port}`
}

/** Rejects when there is no answer within three seconds. */
export function askOwnServer(
  config: Config,
  path: string,
): Promise<{ code: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    const get = config.tls ? getHttps : getHttp
    const signal = AbortSignal.timeout(timeoutMs)
    // The certificate is made for the name that others use, and here there is nobody in between.
    const options = { agent: false, signal, rejectUnauthorized: false }
    get(`${ownUrl(config)}${path}`, options, (message) => {
      let body = ''
      message.setEncoding('utf8')
      message.on('data', (text: string) => (body = (body + text).slice(0, 100_000)))
      message.on('end', () => resolve({ code: message.statusCode, body }))
      message.on('error', reject)
    }).on('error', (error: NodeJS.ErrnoException) => {
      reject(new Error(error.code ?? error.message, { cause: error }))
    })
  })
}
