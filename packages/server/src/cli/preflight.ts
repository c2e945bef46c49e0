// `backing-image preflight`: what would not fit, said before a cluster has fetched all of it.

import { type Consumer, consumers } from '@backing-image/longhorn'
import { type Command, Option } from 'commander'
import type { PreflightView } from '../consumers.ts'
import { type Form, outputOption, plainTable, print } from './output.ts'
import {
  addServerCommand,
  clientOf,
  imagePath,
  nameAnd,
  withName,
  withQuery,
} from './server-options.ts'
import { CommandError, type Terminal } from './terminal.ts'

interface Options {
  name?: string
  version?: string
  consumer?: Consumer
  output?: Form
}

const helpText = `
Consumers:
  longhorn-v1, longhorn-v2   Longhorn, by data engine
  cdi                        KubeVirt's CDI, which fills volumes of any storage
  qemu                       QEMU and its tools

The exit code is 0 whatever fits, but 1 when --consumer names one that it does not fit.

Examples:
  $ backing-image-manager backing-image preflight debian
  $ backing-image-manager backing-image preflight debian --consumer longhorn-v1 -o json`

export function addPreflight(group: Command, terminal: Terminal): void {
  const description = 'say what each consumer would make of an image'
  withName(addServerCommand(group, 'preflight NAME', description))
    .argument('[name]', 'the image')
    .option('--version <version>', 'this version (default: the newest that is ready)')
    .addOption(new Option('--consumer <consumer>', 'only this one').choices(consumers))
    .addOption(outputOption())
    .addHelpText('after', helpText)
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const [name] = nameAnd(options.name, [given])
      const { version, consumer, output } = options
      const path = withQuery(`${imagePath(name)}/preflight`, { version })
      const found = await clientOf(command, terminal).json<PreflightView>('GET', path)
      const data = found.data.filter((each) => consumer === undefined || each.consumer === consumer)
      print(terminal, output, { value: { ...found, data }, table: () => tableOf(data) })
      const wrong = data.find(({ fits }) => !fits)
      if (consumer === undefined || !wrong) return
      throw new CommandError(`${name} does not fit ${consumer}: ${wrong.problems.join(' ')}`)
    })
}

/** A row a consumer, and in it a line a sentence. */
function tableOf(data: PreflightView['data']): string {
  const table = plainTable(['CONSUMER', 'FITS', 'RENDITION', 'WHY'])
  for (const { consumer, fits, rendition, problems, notes } of data) {
    const why = [...problems, ...notes].join('\n')
    table.push([consumer, fits ? 'yes' : 'no', rendition, why])
  }
  return table.toString()
}
