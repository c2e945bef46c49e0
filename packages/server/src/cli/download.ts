// `backing-image download`: the bytes of an image as a file. What has come is kept in
// `FILE.<digest>.part`, whose name says which bytes it holds: bytes of two images never meet in one
// file, and the next try goes on where this one broke.

import { createHash, type Hash } from 'node:crypto'
import { constants, createWriteStream } from 'node:fs'
import { lstat, open, realpath, rename, rm, stat } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { basename, join } from 'node:path'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { asError } from '@backing-image/core'
import type { Command } from 'commander'
import type { Client } from './client.ts'
import { startProgress } from './progress.ts'
import * as common from './server-options.ts'
import { CommandError, type Terminal } from './terminal.ts'

interface Options {
  name?: string
  version?: string
  output?: string
}

export function addDownload(group: Command, terminal: Terminal): void {
  common
    .withName(common.addServerCommand(group, 'download NAME', 'fetch the bytes, and check them'))
    .argument('[name]', 'the image')
    .option('-o, --output <file>', 'file, folder, or "-" for stdout (default: NAME-VERSION.EXT)')
    .option('--version <version>', 'this version (default: the newest that is ready)')
    .addHelpText('after', downloadHelp)
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const [name] = common.nameAnd(options.name, [given])
      const path = common.withQuery(`${common.imagePath(name)}/download`, {
        version: options.version,
      })
      const client = common.clientOf(command, terminal)
      const download = new Download(client, path, terminal)
      await download.run(options.output)
    })
}

const downloadHelp = `
A download that broke goes on where it stopped when the same command is given again. The file appears
under its name only when all of it is there and has the SHA-512 of the image.

Examples:
  $ backing-image-manager backing-image download debian
  $ backing-image-manager backing-image download debian --version 3 -o /var/lib/images/
  $ backing-image-manager backing-image download debian -o - | dd of=/dev/sdb bs=4M`

/** What the server says of the bytes. */
interface Facts {
  etag: string
  sha512: string
  size: number
  fileName: string
}

// The name of a part is known beforehand: whoever may write in the folder could put a link there.
const create = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW
const resume = constants.O_RDWR | constants.O_NOFOLLOW

class Download {
  readonly #client: Client
  readonly #path: string
  readonly #terminal: Terminal
  readonly #hash: Hash = createHash('sha512')

  constructor(client: Client, path: string, terminal: Terminal) {
    this.#client = client
    this.#path = path
    this.#terminal = terminal
  }

  async run(output: string | undefined): Promise<void> {
    const first = await this.#client.open('GET', this.#path)
    try {
      const facts = factsOf(first, this.#client.url)
      const target = await targetOf(output, facts.fileName, this.#terminal)
      if (typeof target === 'string') await this.#toFile(first, facts, target)
      else await this.#toStream(first, facts, target)
    } finally {
      first.destroy()
    }
  }

  async #toStream(first: IncomingMessage, facts: Facts, target: Writable): Promise<void> {
    await this.#receive(first, facts, 0, target).catch((error: unknown) => {
      throw new CommandError(`The download broke: ${asError(error).message}. Start it again.`)
    })
    const actual = this.#hash.digest('hex')
    if (actual !== facts.sha512) {
      throw new CommandError(`${mismatch(facts, actual)} Do not use what was written.`)
    }
  }

  async #toFile(first: IncomingMessage, facts: Facts, target: string): Promise<void> {
    const part = `${target}.${facts.sha512.slice(0, 16)}.part`
    const there = await lstat(part).catch(() => undefined)
    // With more bytes than the image it can not be a beginning of it.
    const have = there && there.size <= facts.size ? there.size : 0
    try {
      if (have > 0) await this.#readBack(part)
      if (have < facts.size || have === 0) {
        const message = have === 0 ? first : await this.#rest(first, facts, have)
        const file = await open(part, have === 0 ? create : resume)
        const to = file.createWriteStream({ start: have, flush: true })
        await this.#receive(message, facts, have, to)
      }
    } catch (error) {
      if (error instanceof CommandError) throw error
      const kept = await lstat(part).catch(() => undefined)
      const advice = kept?.isFile()
        ? `What has come is kept in ${part}: give the same command again to go on.`
        : 'Nothing was kept.'
      throw new CommandError(`The download broke: ${asError(error).message}. ${advice}`, {
        cause: error,
      })
    }
    const actual = this.#hash.digest('hex')
    if (actual !== facts.sha512) {
      await rm(part, { force: true })
      throw new CommandError(`${mismatch(facts, actual)} It was deleted: start again.`)
    }
    await rename(part, target)
    this.#terminal.stdout.write(`${target}\n`)
  }

  async #readBack(part: string): Promise<void> {
    const file = await open(part, resume)
    const bytes: AsyncIterable<Uint8Array> = file.createReadStream({ highWaterMark: 1024 * 1024 })
    for await (const chunk of bytes) this.#hash.update(chunk)
  }

  /** The bytes from `have` on, of the same image: with another the server fails the If-Match. */
  async #rest(first: IncomingMessage, facts: Facts, have: number): Promise<IncomingMessage> {
    first.destroy()
    const message = await this.#client.open('GET', this.#path, {
      range: `bytes=${have}-`,
      'if-match': facts.etag,
    })
    const range = `bytes ${have}-${facts.size - 1}/${facts.size}`
    if (message.statusCode === 206 && message.headers['content-range'] === range) return message
    message.destroy()
    const { statusCode: status } = message
    throw new CommandError(`The server answered ${status} to a request for the rest. Try again.`)
  }

  async #receive(
    message: IncomingMessage,
    facts: Facts,
    have: number,
    to: Writable,
  ): Promise<void> {
    const progress = startProgress(this.#terminal, facts.size, have)
    const hash = this.#hash
    try {
      await pipeline(
        message,
        async function* pass(bytes: AsyncIterable<Uint8Array>) {
          for await (const chunk of bytes) {
            hash.update(chunk)
            progress.add(chunk.length)
            yield chunk
          }
        },
        to,
      )
    } finally {
      progress.stop()
    }
  }
}

function factsOf(message: IncomingMessage, url: string): Facts {
  const { etag, 'content-length': length, 'repr-digest': digest } = message.headers
  const [, base64] = /(?:^|,)\s*sha-512=:([A-Za-z0-9+/=]+):/.exec(String(digest ?? '')) ?? []
  if (!etag?.startsWith('"') || length === undefined || base64 === undefined) {
    throw new CommandError(`${url} does not say which bytes it sends: is it a server of ours?`)
  }
  const disposition = message.headers['content-disposition'] ?? ''
  const [, given = ''] = /filename="([^"]*)"/.exec(disposition) ?? []
  // What the server calls it must stay in this folder, and be no hidden file.
  const fileName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(given) ? basename(given) : 'image.img'
  const sha512 = Buffer.from(base64, 'base64').toString('hex')
  return { etag, sha512, size: Number(length), fileName }
}

/** A path, or a stream for what is no plain file: nothing may be renamed onto a device. */
async function targetOf(
  output: string | undefined,
  fileName: string,
  terminal: Terminal,
): Promise<string | Writable> {
  if (output === '-') return terminal.stdout
  const path = output ?? fileName
  const stats = await stat(path).catch(() => undefined)
  if (!stats) return path
  if (stats.isDirectory()) return await targetOf(join(path, fileName), fileName, terminal)
  // A link stays one: the file that it leads to is replaced.
  return stats.isFile() ? await realpath(path) : createWriteStream(path)
}

function mismatch(facts: Facts, actual: string): string {
  return `The received bytes have the SHA-512 ${actual}, expected was ${facts.sha512}.`
}
