// `backing-image import`: brings backing images that Longhorn has here, one or all of them.

import type { Command } from 'commander'
import { ended, failureOf } from './ended.ts'
import { begin, importAll } from './import-all.ts'
import { type Form, outputOption, printImage } from './output.ts'
import { addServerCommand, clientOf, collectPair, nameAnd, withName } from './server-options.ts'
import { CommandError, type Terminal, UsageError } from './terminal.ts'

interface Options {
  name?: string
  as?: string
  all?: true
  label?: Record<string, string>
  wait: boolean
  output?: Form
}

const helpText = `
The server, whose LONGHORN_API_URL names that Longhorn, fetches the image by itself and compares it with
the SHA-512 that Longhorn knows. --all takes every image that is ready there and did not come from this
server; one that is here already, under its name with the same SHA-512, is skipped. Where the name is here
with other bytes, what comes is a new version of it. It is not registered in Longhorn as long as that has
it. When one fails the others go on; the exit code is then 1.

Examples:
  $ backing-image-manager backing-image import debian
  $ backing-image-manager backing-image import debian --as debian-from-longhorn
  $ backing-image-manager backing-image import --all --label origin=old-cluster`

export function addImport(group: Command, terminal: Terminal): void {
  withName(addServerCommand(group, 'import NAME', 'bring an image of Longhorn here, or all'))
    .argument('[name]', 'what it is called in Longhorn')
    .option('--as <name>', 'what it will be called here (default: the same)')
    .option('--all', 'every image of that Longhorn that is ready')
    .option('--label <key=value>', 'a label; may be repeated', collectPair)
    .option('--no-wait', 'do not wait until it is ready or has failed')
    .addOption(outputOption())
    .addHelpText('after', helpText)
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const client = clientOf(command, terminal)
      if (options.all) {
        if ((given ?? options.name ?? options.as) !== undefined) {
          throw new UsageError('--all is every image under its own name: leave NAME and --as out.')
        }
        return await importAll(client, options, terminal)
      }
      const [name] = nameAnd(options.name, [given])
      const accepted = await begin(client, name, options)
      const image = options.wait ? await ended(client, accepted, terminal) : accepted
      printImage(terminal, options.output, image)
      if (image.state === 'failed') {
        throw new CommandError(`${name} has failed: ${failureOf(image)}`)
      }
    })
}
