// Which program a command talks to: a server over HTTP, or the daemon of a Longhorn disk over gRPC.

import { connect } from 'node:net'
import type { DaemonClient } from '@backing-image/daemon'
import { parseAddress } from '@backing-image/daemon/options'
import { asError } from '@backing-image/core'
import type { Command } from 'commander'
import { readClientConfig } from '../client-config.ts'
import { Client } from './client.ts'
import { clientOf, urlOf } from './server-options.ts'
import { CommandError, type Terminal, UsageError } from './terminal.ts'

export type Target = { kind: 'server'; client: Client } | { kind: 'daemon'; daemon: DaemonClient }

/** Where Longhorn's daemon listens unless it is told otherwise (contract §0). */
export const daemonAddress = 'localhost:8000'
const probeTimeMs = 2000

/**
 * What --url names: with http:// a server, without a daemon. Without it that is
 * BACKING_IMAGE_MANAGER_URL, else whichever runs on this machine, the server first; undefined when
 * neither does.
 */
export async function targetOf(command: Command, terminal: Terminal): Promise<Target | undefined> {
  const url = urlOf(command)
  if (url !== undefined && !url.includes('://')) return await daemonTarget(url)
  const server = new Client(readClientConfig(terminal.env, url))
  const isNamed = url !== undefined || Boolean(terminal.env['BACKING_IMAGE_MANAGER_URL'])
  if (isNamed || (await isListening(new URL(server.url).host))) {
    return { kind: 'server', client: clientOf(command, terminal) }
  }
  return (await isListening(daemonAddress)) ? await daemonTarget(daemonAddress) : undefined
}

/** The same for a command that needs one. */
export async function someTarget(command: Command, terminal: Terminal): Promise<Target> {
  const target = await targetOf(command, terminal)
  if (target) return target
  const { url } = readClientConfig(terminal.env)
  throw new CommandError(
    `No server answers at ${url}, and no daemon at ${daemonAddress}. ` +
      'Start one, or name another with --url: http://HOST:PORT of a server, HOST:PORT of a daemon.',
  )
}

/** The daemon, for a command that no server has. */
export async function daemonOf(command: Command): Promise<DaemonClient> {
  const url = urlOf(command) ?? daemonAddress
  if (!url.includes('://')) return (await daemonTarget(url)).daemon
  throw new UsageError(
    `"${command.name()}" asks a daemon of Longhorn's: name one with --url HOST:PORT, without http://.`,
  )
}

/** Refuses options that the other kind of program has. */
export function refuseOptions(
  given: object,
  names: readonly string[],
  needed: Target['kind'],
): void {
  const found = names.find((name) => name in given)
  if (found === undefined) return
  const url = needed === 'server' ? 'a server: name one with --url http://HOST:PORT' : 'a daemon'
  throw new UsageError(`--${found} is for ${url}.`)
}

/** What a daemon says to `ask`, or its refusal as the error of a command. */
export async function askDaemon<T>(
  daemon: DaemonClient,
  ask: (daemon: DaemonClient) => Promise<T>,
): Promise<T> {
  const { RpcError, rpcCodeName } = await import('@backing-image/daemon')
  try {
    return await ask(daemon)
  } catch (error) {
    if (!(error instanceof RpcError)) throw error
    const code = rpcCodeName(error.code)
    const how = 'Start it with "backing-image-manager daemon", or name another with --url.'
    const text =
      code === 'UNAVAILABLE'
        ? `No daemon answers at ${daemon.address} (${error.message.trim()}). ${how}`
        : `${daemon.address} answered ${code}: ${error.message.trim()}`
    throw new CommandError(text, { cause: error })
  }
}

async function daemonTarget(url: string): Promise<Extract<Target, { kind: 'daemon' }>> {
  try {
    parseAddress(url)
  } catch (error) {
    throw new UsageError(`--url: ${asError(error).message} A server is http://HOST:PORT.`)
  }
  const { DaemonClient } = await import('@backing-image/daemon')
  return { kind: 'daemon', daemon: new DaemonClient(url) }
}

function isListening(address: string): Promise<boolean> {
  const { host, port } = parseAddress(address)
  return new Promise((resolve) => {
    const socket = connect({ host, port })
    const done = (isThere: boolean) => {
      socket.destroy()
      resolve(isThere)
    }
    socket.setTimeout(probeTimeMs, () => done(false))
    socket.on('connect', () => done(true))
    socket.on('error', () => done(false))
  })
}
