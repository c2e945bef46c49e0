// What the commands that talk to a server have in common: the options, the name of the image, and the
// client that they lead to.

import { assertName } from '@backing-image/core'
import { type Command, InvalidArgumentError } from 'commander'
import { readClientConfig } from '../client-config.ts'
import { Client } from './client.ts'
import { type Terminal, UsageError } from './terminal.ts'

/** Adds a command under `group`, with the options that every one has. */
export function addServerCommand(group: Command, usage: string, description: string): Command {
  const [name = '', ...rest] = usage.split(' ')
  return group
    .command(name)
    .usage(`${rest.join(' ')} [options]`.trim())
    .description(description)
    .option('--url <url>', 'the server (default: BACKING_IMAGE_MANAGER_URL, else this machine)')
}

/** `--name`, as Longhorn has it; then the name is not among the arguments. */
export function withName(command: Command): Command {
  return command.option('--name <name>', 'the image, where NAME is not given')
}

/** Whether --debug stands before or after the command. */
export function isDebug(command: Command): boolean {
  return command.optsWithGlobals<{ debug?: true }>().debug === true
}

/** The --url of this command, or else of its group. */
export function urlOf(command: Command): string | undefined {
  const { url } = command.optsWithGlobals<{ url?: string }>()
  return command.opts<{ url?: string }>().url ?? url
}

/** The client for the server that this command, or its group, names; a daemon is none. */
export function clientOf(command: Command, terminal: Terminal): Client {
  const url = urlOf(command)
  if (url !== undefined && !url.includes('://')) {
    throw new UsageError(
      `"${command.name()}" asks a server: name one with --url http://HOST:PORT. ` +
        `Without http:// "${url}" is a daemon of Longhorn's.`,
    )
  }
  return new Client(readClientConfig(terminal.env, url))
}

/**
 * The name of the image, and the arguments after it; undefined for those that are missing. Throws a
 * UsageError when there is no name, a name that can not be one, or an argument too many.
 */
export function nameAnd(
  option: string | undefined,
  given: (string | undefined)[],
): [string, ...(string | undefined)[]] {
  const [name, ...rest] = option === undefined ? given : [option, ...given]
  if (name === undefined) throw new UsageError('Which image? Give its NAME, or --name.')
  if (option !== undefined && given.at(-1) !== undefined) {
    throw new UsageError(`"${given.at(-1)}" is one argument too many: --name gives the image.`)
  }
  try {
    assertName(name)
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
  return [name, ...rest]
}

/** For an option that may be repeated, each time with `key=value`; the first "=" divides them. */
export function collectPair(
  text: string,
  pairs: Record<string, string> = {},
): Record<string, string> {
  const at = text.indexOf('=')
  if (at < 1) throw new InvalidArgumentError('key=value is expected')
  return { ...pairs, [text.slice(0, at)]: text.slice(at + 1) }
}

export function imagePath(name: string, query: Record<string, string | undefined> = {}): string {
  return withQuery(`/v1/backing-images/${encodeURIComponent(name)}`, query)
}

/** The path with those of the parameters that have a value. */
export function withQuery(path: string, query: Record<string, string | undefined>): string {
  const given = new URLSearchParams()
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined) given.append(key, value)
  }
  return given.size === 0 ? path : `${path}?${given.toString()}`
}
