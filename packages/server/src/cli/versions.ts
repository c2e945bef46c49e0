// `backing-image versions`: the history of one name.

import type { Command } from 'commander'
import { type Form, imagesTable, outputOption, print, whole } from './output.ts'
import { allPages } from './pages.ts'
import { addServerCommand, clientOf, imagePath, nameAnd, withName } from './server-options.ts'
import type { Terminal } from './terminal.ts'

export function addVersions(group: Command, terminal: Terminal): void {
  withName(addServerCommand(group, 'versions NAME', 'list all versions, newest first'))
    .argument('[name]', 'the image')
    .addOption(outputOption())
    .action(
      async (given: string | undefined, options: { name?: string; output?: Form }, command) => {
        const [name] = nameAnd(options.name, [given])
        const images = await allPages(clientOf(command, terminal), `${imagePath(name)}/versions`)
        print(terminal, options.output, {
          value: images.map(whole),
          table: () => imagesTable(images),
        })
      },
    )
}
