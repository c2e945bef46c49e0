// What `daemon` and `data-source` have in common: where they listen, their disk, and their end.

import { isAbsolute } from 'node:path'
import {
  type Address,
  type Running,
  formatAddress,
  parseAddress,
} from '@backing-image/daemon/options'
import { asError } from '@backing-image/core'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { firstSignal } from './signal.ts'
import type { Terminal } from './terminal.ts'

export interface DiskFlags {
  listen: Address
  syncListen: Address
  diskPath: string
}

/** Of Longhorn's flags, those that both have, and --disk-path, where Longhorn's is always /data/. */
export function withDiskOptions(command: Command, what: string): Command {
  return withListenOptions(command, what)
    .option('--disk-path <path>', 'the root of the disk', absolutePath, '/data/')
    .option('--debug', 'log everything')
}

export function withListenOptions(command: Command, what: string): Command {
  return command
    .addOption(addressOption('--listen', `where ${what} is served`, 8000))
    .addOption(addressOption('--sync-listen', 'where its files are served', 8001))
}

function addressOption(flag: string, description: string, port: number): Option {
  const usual: Address = { host: 'localhost', port }
  return new Option(`${flag} <[host]:port>`, description)
    .argParser(parsed(parseAddress))
    .default(usual, formatAddress(usual))
}

/** A parser that throws, as commander wants it. */
export function parsed<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      throw new InvalidArgumentError(asError(error).message)
    }
  }
}

/** Runs until SIGTERM or SIGINT, and ends in order then; a second one ends it at once. */
export async function runUntilSignal(
  terminal: Terminal,
  start: () => Promise<Running>,
): Promise<void> {
  const stopAsked = firstSignal(terminal)
  const running = await start()
  await stopAsked
  await running.close()
}

export function absolutePath(text: string): string {
  if (isAbsolute(text) && !text.includes('\0')) return text
  throw new InvalidArgumentError('an absolute path is expected')
}
