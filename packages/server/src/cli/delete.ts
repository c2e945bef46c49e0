// `backing-image delete`: all versions of a name, or one.

import type { Command } from 'commander'
import type { Client } from './client.ts'
import { keyOf } from './daemon-commands.ts'
import { allPages } from './pages.ts'
import { addServerCommand, imagePath, nameAnd, withName } from './server-options.ts'
import { askDaemon, refuseOptions, someTarget } from './target.ts'
import { CommandError, type Terminal } from './terminal.ts'

interface Options {
  name?: string
  uuid?: string
  version?: string
  force?: true
}

export function addDelete(group: Command, terminal: Terminal): void {
  withName(addServerCommand(group, 'delete NAME', 'delete all versions of an image, or one'))
    .alias('del')
    .argument('[name]', 'the image')
    .option('--uuid <uuid>', 'only the version with this uuid')
    .option('--version <version>', 'only this version')
    .option('--force', "leave Longhorn's copies of it where they are")
    .addHelpText('after', helpText)
    .action(async (given: string | undefined, options: Options, command: Command) => {
      const target = await someTarget(command, terminal)
      if (target.kind === 'daemon') {
        refuseOptions(options, ['version', 'force'], 'server')
        const key = keyOf({ name: given ?? options.name, uuid: options.uuid })
        return await askDaemon(target.daemon, (it) => it.delete(key))
      }
      const [name] = nameAnd(options.name, [given])
      const { client } = target
      const { uuid } = options
      const version =
        uuid === undefined
          ? options.version
          : await versionOf(client, { name, uuid, version: options.version })
      await client.json('DELETE', imagePath(name, { version, force: options.force && 'true' }))
    })
}

const helpText = `
What is registered in Longhorn goes there too, and is refused as long as a volume uses it, or Longhorn can
not be asked. With --force it goes here alone: Longhorn keeps what it has, and can not fetch it again.

Examples:
  $ backing-image-manager backing-image delete debian --version 1
  $ backing-image-manager backing-image delete debian --force`

/**
 * The one version that a uuid means. The server deletes by version: where that would take more than
 * this ingest along, such as a published version with the label of a failed one, nothing is deleted.
 */
async function versionOf(
  client: Client,
  { name, uuid, version }: { name: string; uuid: string; version: string | undefined },
): Promise<string> {
  const versions = await allPages(client, `${imagePath(name)}/versions`)
  const found = versions.filter(
    (each) => each.uuid === uuid && (version === undefined || each.version === version),
  )
  const [only] = found
  if (!only) throw new CommandError(`${name} has no version with the uuid ${uuid}. See "versions".`)
  const alike = versions.filter((each) => each.version === only.version)
  if (found.length === 1 && alike.length === 1) return only.version
  const labels = found.map((each) => each.version).join(', ')
  throw new CommandError(
    `The uuid ${uuid} does not mean one version of ${name} alone (${labels}): ` +
      'nothing was deleted. Give --version alone.',
  )
}
