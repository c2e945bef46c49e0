// `backing-image cleanup`: has Longhorn drop copies of an image on disks that need the room.

import type { Command } from 'commander'
import type { ImageView } from '../view.ts'
import { type Form, outputOption, plainTable, print, whole } from './output.ts'
import { addServerCommand, clientOf, imagePath, nameAnd, withName } from './server-options.ts'
import type { Terminal } from './terminal.ts'

interface Options {
  name?: string
  disk: string[]
  output?: Form
}

const helpText = `
The image itself stays, here and in Longhorn, which copies it again to a disk whose volumes need it. A copy
that is in use, and the last one that is ready, are refused. "get -o yaml" shows the disks under longhorn.

Examples:
  $ backing-image-manager backing-image cleanup debian --disk 6d2c1a52-7b1c-4d3e-9f60-0c8a6f1b2e4d`

export function addCleanup(group: Command, terminal: Terminal): void {
  withName(addServerCommand(group, 'cleanup NAME', "drop Longhorn's copies of an image on disks"))
    .argument('[name]', 'the image')
    .requiredOption('--disk <uuid>', 'the disk, by its UUID in Longhorn; may be repeated', collect)
    .addOption(outputOption())
    .addHelpText('after', helpText)
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const [name] = nameAnd(options.name, [given])
      const path = `${imagePath(name)}/cleanup`
      const client = clientOf(command, terminal)
      const image = await client.json<ImageView>('POST', path, {
        disks: options.disk,
      })
      print(terminal, options.output, { value: whole(image), table: () => tableOf(image) })
    })
}

function collect(text: string, texts: string[] = []): string[] {
  return [...texts, text]
}

/** The copies that are left, a row each. */
function tableOf({ longhorn }: ImageView): string {
  const table = plainTable(['CLUSTER', 'NAME', 'DISK', 'STATE', 'MESSAGE'])
  for (const [cluster, { name, disks }] of Object.entries(longhorn)) {
    for (const [disk, { state, progress, message }] of Object.entries(disks)) {
      const shown = state === 'in-progress' ? `${state} ${progress}%` : state
      table.push([cluster, name, disk, shown, message])
    }
  }
  return table.toString()
}
