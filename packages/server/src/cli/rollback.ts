// `backing-image rollback`: an older version's bytes become the newest version.

import type { Command } from 'commander'
import type { ImageView } from '../view.ts'
import { type Form, outputOption, printImage } from './output.ts'
import { addServerCommand, clientOf, imagePath, nameAnd, withName } from './server-options.ts'
import { type Terminal, UsageError } from './terminal.ts'

type Given = string | undefined

export function addRollback(group: Command, terminal: Terminal): void {
  const description = 'publish a new version that has the bytes of an older one'
  withName(addServerCommand(group, 'rollback NAME VERSION', description))
    .argument('[name]', 'the image')
    .argument('[version]', 'the version to go back to')
    .addOption(outputOption())
    .action(
      async (first: Given, second: Given, options: { name?: string; output?: Form }, command) => {
        const [name, version] = nameAnd(options.name, [first, second])
        if (version === undefined) {
          throw new UsageError('Which VERSION? See "backing-image versions" for those there are.')
        }
        const path = `${imagePath(name)}/rollback`
        const client = clientOf(command, terminal)
        printImage(
          terminal,
          options.output,
          await client.json<ImageView>('POST', path, { version }),
        )
      },
    )
}
