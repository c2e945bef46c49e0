// The commands of `backing-image` that only the daemon of a Longhorn disk has, with Longhorn's own names
// and flags (contract §5).

import { type Command, InvalidArgumentError } from 'commander'
import { printDaemonImage } from './daemon-output.ts'
import { askDaemon, daemonOf } from './target.ts'
import { CommandError, type Terminal } from './terminal.ts'

interface Key {
  name?: string | undefined
  uuid?: string | undefined
}

interface Wanted extends Key {
  size?: number
  checksum: string
}

export function addDaemonCommands(group: Command, terminal: Terminal): void {
  addSend(group)
  addFetch(group, terminal)
  addFileSync(group, terminal)
  addPrepareDownload(group, terminal)
}

/** Both, as Longhorn's daemon wants them; else a CommandError. */
export function keyOf({ name = '', uuid = '' }: Key): { name: string; uuid: string } {
  if (name !== '' && uuid !== '') return { name, uuid }
  throw new CommandError('Which image? A daemon wants both --name and --uuid.')
}

function addSend(group: Command): void {
  withKey(group, 'send', 'daemon: send an image to a receiver that waits for it')
    .option('--to-address <host:port>', 'where the receiver waits')
    .addHelpText('after', sendHelp)
    .action(async (options: Key & { toAddress?: string }, command: Command) => {
      const key = keyOf(options)
      const toAddress = needed('--to-address', options.toAddress)
      await askDaemon(await daemonOf(command), (daemon) => daemon.send(key, toAddress))
    })
}

function addFetch(group: Command, terminal: Terminal): void {
  withSpec(group, 'sync', 'daemon: take over what a data source has made, or what is on the disk')
    .option('--data-source-address <host:port>', 'the data source (default: what is there)', '')
    .addHelpText('after', fetchHelp)
    .action(async (options: Wanted & { dataSourceAddress: string }, command: Command) => {
      const spec = specOf(options)
      const image = await askDaemon(await daemonOf(command), (daemon) =>
        daemon.fetch(spec, options.dataSourceAddress),
      )
      printDaemonImage(terminal, image)
    })
}

function addFileSync(group: Command, terminal: Terminal): void {
  withSpec(group, 'file-sync', 'daemon: copy an image from the daemon of another disk')
    .option('--from-address <host:port>', 'the daemon that has it')
    .addHelpText('after', fileSyncHelp)
    .action(async (options: Wanted & { fromAddress?: string }, command: Command) => {
      const spec = specOf(options)
      const from = needed('--from-address', options.fromAddress)
      const image = await askDaemon(await daemonOf(command), (daemon) => daemon.sync(spec, from))
      printDaemonImage(terminal, image)
    })
}

function addPrepareDownload(group: Command, terminal: Terminal): void {
  withKey(group, 'prepare-download', 'daemon: tell where a ready image can be downloaded')
    .addHelpText('after', prepareHelp)
    .action(async (options: Key, command: Command) => {
      const key = keyOf(options)
      const found = await askDaemon(await daemonOf(command), (daemon) =>
        daemon.prepareDownload(key),
      )
      terminal.stdout.write(
        `Source file path: ${found.src_file_path}\nDownload server address: ${found.address}\n`,
      )
    })
}

function withKey(group: Command, name: string, description: string): Command {
  return group
    .command(name)
    .description(description)
    .option('--url <host:port>', 'the daemon (default: localhost:8000)')
    .option('--name <name>', 'the image')
    .option('--uuid <uuid>', 'of this image')
}

function withSpec(group: Command, name: string, description: string): Command {
  return withKey(group, name, description)
    .option('--size <bytes>', 'of the file', bytes)
    .option('--checksum <sha512>', 'what the file must have: SHA-512 in hex', '')
}

/** The image, once all is there that the daemon needs. */
function specOf(options: Wanted) {
  const { size = 0, checksum } = options
  const key = keyOf(options)
  if (size > 0) return { ...key, size, checksum }
  throw new CommandError('How large is it? A daemon wants --size, in bytes, over 0.')
}

function needed(option: string, text: string | undefined): string {
  if (text) return text
  throw new CommandError(`${option} HOST:PORT is missing.`)
}

function bytes(text: string): number {
  const size = Number(text)
  if (/^-?[0-9]+$/.test(text) && Number.isSafeInteger(size)) return size
  throw new InvalidArgumentError('a number of bytes is expected')
}

const sendHelp = `
Example:
  $ backing-image-manager backing-image --url 10.42.0.7:8000 send --name debian --uuid 0123abcd \\
      --to-address 10.42.1.9:30001`

const fetchHelp = `
Longhorn calls this command "sync", and the call behind it Fetch. To copy from another disk use "file-sync".

Examples:
  $ backing-image-manager backing-image sync --name debian --uuid 0123abcd --size 2147483648 \\
      --data-source-address 10.42.0.8:8000
  $ backing-image-manager backing-image sync --name debian --uuid 0123abcd --size 2147483648`

const fileSyncHelp = `
Example:
  $ backing-image-manager backing-image file-sync --name debian --uuid 0123abcd --size 2147483648 \\
      --from-address 10.42.0.7:8000`

const prepareHelp = `
Example:
  $ backing-image-manager backing-image prepare-download --name debian --uuid 0123abcd`
