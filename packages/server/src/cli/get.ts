// `backing-image get`: all that is known of one image.

import type { Command } from 'commander'
import type { ImageView } from '../view.ts'
import { keyOf } from './daemon-commands.ts'
import { printDaemonImage } from './daemon-output.ts'
import { type Form, outputOption, printImage } from './output.ts'
import { addServerCommand, imagePath, nameAnd, withName } from './server-options.ts'
import { askDaemon, refuseOptions, someTarget } from './target.ts'
import type { Terminal } from './terminal.ts'

interface Options {
  name?: string
  uuid?: string
  version?: string
  output?: Form
}

export function addGet(group: Command, terminal: Terminal): void {
  withName(addServerCommand(group, 'get NAME', 'show one image'))
    .argument('[name]', 'the image')
    .option('--uuid <uuid>', 'exactly this ingest')
    .option('--version <version>', 'this version (default: the newest that is ready)')
    .addOption(outputOption())
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const target = await someTarget(command, terminal)
      if (target.kind === 'daemon') {
        refuseOptions(options, ['version', 'output'], 'server')
        const key = keyOf({ name: given ?? options.name, uuid: options.uuid })
        return printDaemonImage(terminal, await askDaemon(target.daemon, (it) => it.get(key)))
      }
      const [name] = nameAnd(options.name, [given])
      const { uuid, version } = options
      const path = imagePath(name, { uuid, version })
      const image = await target.client.json<ImageView>('GET', path)
      printImage(terminal, options.output, image)
    })
}
