// `data-source`: what Longhorn runs for the first copy of an image, with Longhorn's own flags
// (contract §5). Values may hold commas: each pair is one argument.

import type { DataSourceOptions, Running, Values } from '@backing-image/daemon/options'
import { type Command, Option } from 'commander'
import { readConfig } from '../config.ts'
import { createLog } from '../log.ts'
import { openFetcher } from '../sources.ts'
import { type DiskFlags, runUntilSignal, withDiskOptions } from './disk-options.ts'
import { collectPair, isDebug } from './server-options.ts'
import { type Terminal, UsageError } from './terminal.ts'

interface Flags extends DiskFlags {
  name: string
  uuid: string
  sourceType: string
  parameters?: Values
  credential?: Values
  checksum: string
}

const sourceTypes = ['download', 'upload', 'export-from-volume', 'restore', 'clone']

/** `start` begins with the work and to serve, and resolves when all listens that should. */
export function addDataSource(
  program: Command,
  terminal: Terminal,
  start: (options: DataSourceOptions) => Promise<Running>,
): void {
  const command = program
    .command('data-source')
    .description('make the first copy of one image on a Longhorn disk, for longhorn-manager')
  withDiskOptions(command, 'the data source')
    .requiredOption('--name <name>', 'the image')
    .requiredOption('--uuid <uuid>', 'of this image')
    .addOption(
      new Option('--source-type <type>', 'where the bytes come from')
        .choices(sourceTypes)
        .makeOptionMandatory(),
    )
    .option('--parameters <key=value>', 'of the source; may be repeated', collectPair)
    .option('--checksum <sha512>', 'what the bytes must have: SHA-512 in hex', '')
    .option('--credential <key=value>', 'a secret; may be repeated', collectSecret)
    .addHelpText('after', dataSourceHelp)
    .action(async (flags: Flags, self: Command) => {
      const { listen, syncListen, diskPath, name, uuid, sourceType } = flags
      const { parameters = {}, checksum, credential = {} } = flags
      const config = readConfig(terminal.env)
      const log = createLog(isDebug(self) ? 'debug' : config.logLevel)
      const { fetcher } = openFetcher(config)
      const podIp = terminal.env['POD_IP'] ?? ''
      const where = { listen, syncListen, diskPath, podIp, fetcher, log }
      const what = { name, uuid, sourceType, parameters, checksum, credential }
      await runUntilSignal(terminal, () => start({ ...where, ...what }))
    })
}

/** As collectPair, but what is wrong is not shown. */
function collectSecret(text: string, pairs: Values = {}): Values {
  const at = text.indexOf('=')
  if (at > 0) return { ...pairs, [text.slice(0, at)]: text.slice(at + 1) }
  throw new UsageError('--credential: key=value is expected. What was given is not shown.')
}

const dataSourceHelp = `
Longhorn starts it in a pod beside the daemon of the disk, and ends it when the daemon has taken over what
it made. Source types and their parameters; others are ignored:
  download            url
  upload              none: the bytes are sent to --listen within a minute
  export-from-volume  snapshot-name, sender-address, volume-size, file-sync-http-client-timeout,
                      file-type or export-type: raw, qcow2
  restore             backup-url, concurrent-limit; credentials of the backup store
  clone               backing-image, backing-image-uuid, encryption; credentials of the key
and of each data-engine. The first "=" ends the key: values may hold "=" and ",".

Examples:
  $ backing-image-manager --debug data-source --listen :8000 --sync-listen :8001 --name debian \\
      --uuid 0123abcd --source-type download --parameters url=https://mirror.example.org/debian.qcow2
  $ backing-image-manager data-source --name disk --uuid 0123abcd --source-type upload \\
      --disk-path /var/lib/longhorn`
