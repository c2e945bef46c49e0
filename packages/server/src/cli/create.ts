// `backing-image create`: an image that the server fetches by itself, from what --source-type names.

import type { Command } from 'commander'
import type { ImageView } from '../view.ts'
import { ended, failureOf } from './ended.ts'
import { type Form, outputOption, printImage } from './output.ts'
import * as common from './server-options.ts'
import { CommandError, type Terminal } from './terminal.ts'

interface Options {
  name?: string
  sourceType: string
  parameters?: Record<string, string>
  version?: string
  checksum?: string
  label?: Record<string, string>
  wait: boolean
  output?: Form
}

const createHelp = `
The server fetches the image by itself, and goes on after a restart. To store a file of this machine use
"upload". Source types and their parameters:
  download  url, checksumUrl (a SHA256SUMS or the like beside the image), decompress (auto or never),
            credential (the name of a secret in the server's SOURCE_SECRETS_DIR)
  longhorn  backing-image (its name in the Longhorn of the server); "import" is shorter
  export-from-volume
            volume-name (in that Longhorn), export-type (raw or qcow2)
  sync      from (the URL of another manager), name (of the image there), version (there; default: its
            newest), credential (the name of a secret that holds its token)

Examples:
  $ backing-image-manager backing-image create debian --source-type download \\
      --parameters url=https://mirror.example.org/debian.qcow2 \\
      --parameters checksumUrl=https://mirror.example.org/SHA512SUMS
  $ backing-image-manager backing-image create debian --source-type sync \\
      --parameters from=https://images.example.org --parameters name=debian
  $ backing-image-manager backing-image create golden --source-type export-from-volume \\
      --parameters volume-name=pvc-1a2b`

export function addCreate(group: Command, terminal: Terminal): void {
  const description = 'make an image from a source that the server reads'
  common
    .withName(common.addServerCommand(group, 'create NAME', description))
    .argument('[name]', 'the image')
    .requiredOption('--source-type <type>', 'where the bytes come from')
    .option('--parameters <key=value>', 'of the source; may be repeated', common.collectPair)
    .option('--version <version>', 'the version (default: the next number)')
    .option('--checksum <checksum>', 'what the bytes must have: sha512:, sha256:, sha1: or md5:')
    .option('--label <key=value>', 'a label; may be repeated', common.collectPair)
    .option('--no-wait', 'do not wait until the image is ready or has failed')
    .addOption(outputOption())
    .addHelpText('after', createHelp)
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const [name] = common.nameAnd(options.name, [given])
      const client = common.clientOf(command, terminal)
      const { sourceType, parameters = {}, version, checksum, label } = options
      const accepted = await client.json<ImageView>('POST', '/v1/backing-images', {
        name,
        sourceType,
        parameters,
        ...(version === undefined ? {} : { version }),
        ...(checksum === undefined ? {} : { checksum }),
        ...(label === undefined ? {} : { labels: label }),
      })
      const image = options.wait ? await ended(client, accepted, terminal) : accepted
      printImage(terminal, options.output, image)
      if (image.state === 'failed') {
        throw new CommandError(`${name} has failed: ${failureOf(image)}`)
      }
    })
}
