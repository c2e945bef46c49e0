// `backing-image list`: one image a name.

import type { Command } from 'commander'
import { printDaemonImages } from './daemon-output.ts'
import { type Form, imagesTable, outputOption, print, toLonghorn } from './output.ts'
import { allPages } from './pages.ts'
import { addServerCommand } from './server-options.ts'
import { askDaemon, refuseOptions, someTarget } from './target.ts'
import type { Terminal } from './terminal.ts'

export function addList(group: Command, terminal: Terminal): void {
  addServerCommand(group, 'list', 'list the images, one a name')
    .alias('ls')
    .addOption(outputOption())
    .addHelpText('after', '\nThe JSON is an object: name to image, in the shape of Longhorn.')
    .action(async (options: { output?: Form }, command: Command) => {
      const target = await someTarget(command, terminal)
      if (target.kind === 'daemon') {
        refuseOptions(options, ['output'], 'server')
        return printDaemonImages(terminal, await askDaemon(target.daemon, (it) => it.list()))
      }
      const images = await allPages(target.client, '/v1/backing-images')
      print(terminal, options.output, {
        value: Object.fromEntries(images.map((image) => [image.name, toLonghorn(image)])),
        table: () => imagesTable(images),
      })
    })
}
