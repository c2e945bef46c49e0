// `daemon`: what Longhorn runs for each of its disks, with Longhorn's own flags (contract §5).

import type { DaemonOptions, PortRange, Running } from '@backing-image/daemon/options'
import { parsePortRange } from '@backing-image/daemon/options'
import { type Command, Option } from 'commander'
import { readConfig } from '../config.ts'
import { createLog } from '../log.ts'
import { openFetcher } from '../sources.ts'
import { type DiskFlags, parsed, runUntilSignal, withDiskOptions } from './disk-options.ts'
import { isDebug } from './server-options.ts'
import type { Terminal } from './terminal.ts'

interface Flags extends DiskFlags {
  diskUuid: string
  portRange: PortRange
}

const usualPorts = '30001-31000'

/** `start` begins to serve, and resolves when all listens that should. */
export function addDaemon(
  program: Command,
  terminal: Terminal,
  start: (options: DaemonOptions) => Promise<Running>,
): void {
  const command = program
    .command('daemon')
    .description('keep the backing images of one Longhorn disk, for longhorn-manager')
  withDiskOptions(command, 'gRPC')
    .option(
      '--disk-uuid <uuid>',
      'refuse any other disk (default: what longhorn-disk.cfg tells)',
      '',
    )
    .addOption(
      new Option(
        '--port-range <first-last>',
        'ports on which copies from other disks are waited for',
      )
        .argParser(parsed(parsePortRange))
        .default(parsePortRange(usualPorts), usualPorts),
    )
    .addHelpText('after', daemonHelp)
    .action(async (flags: Flags, self: Command) => {
      const { listen, syncListen, diskPath, diskUuid, portRange } = flags
      const { version, gitCommit, buildDate } = terminal
      const config = readConfig(terminal.env)
      const log = createLog(isDebug(self) ? 'debug' : config.logLevel)
      const { fetcher } = openFetcher(config)
      const podIp = terminal.env['POD_IP'] ?? ''
      const build = { version, gitCommit, buildDate }
      const where = { listen, syncListen, diskPath, podIp, fetcher, log }
      await runUntilSignal(terminal, () => start({ ...where, diskUuid, portRange, build }))
    })
}

const daemonHelp = `
Longhorn starts it, in a pod of its own for each disk, when its image is set as
default-backing-image-manager-image. The disk is mounted at --disk-path, and has a longhorn-disk.cfg.
POD_IP tells where other pods reach this one; the network interface lhnet1 comes first for copies.

Examples:
  $ backing-image-manager --debug daemon --listen :8000 --sync-listen :8001
  $ backing-image-manager daemon --disk-path /var/lib/longhorn --port-range 32001-32100
  $ backing-image-manager backing-image --url localhost:8000 list`
