// `serve --longhorn-disk`: the gateway and the daemon of a disk as one process (docs/longhorn-daemon.md).

import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { RunningDaemon } from '@backing-image/daemon'
import { type Address, parsePortRange } from '@backing-image/daemon/options'
import type { Logger } from 'pino'
import { type Config, ConfigError } from '../config.ts'
import { openFetcher } from '../sources.ts'
import type { Terminal } from './terminal.ts'

export interface DiskServing {
  longhornDisk?: string
  listen: Address
  syncListen: Address
}

const usualPorts = '30001-31000'

/** The environment with the storage that the disk stands for. Throws a ConfigError where another is set. */
export function withDisk(env: Terminal['env'], { longhornDisk }: DiskServing): Terminal['env'] {
  if (longhornDisk === undefined) return env
  const path = imagesPath(longhornDisk)
  const { STORAGE_BACKEND_TYPE: type, BACKING_IMAGE_STORAGE_PATH: given } = env
  const faults: string[] = []
  if (type && type !== 'local') {
    faults.push(
      `STORAGE_BACKEND_TYPE: "${type}" was given; with --longhorn-disk local is expected.`,
    )
  }
  if (given && resolve(given) !== path) {
    faults.push(
      `BACKING_IMAGE_STORAGE_PATH: "${given}" was given; with --longhorn-disk it is ${path}: leave it out.`,
    )
  }
  if (faults.length > 0) throw new ConfigError(faults)
  return { ...env, BACKING_IMAGE_STORAGE_PATH: path }
}

/** Before the store is opened: Longhorn makes that folder only when it needs it. */
export async function prepareDisk({ longhornDisk }: DiskServing): Promise<void> {
  if (longhornDisk !== undefined) await mkdir(imagesPath(longhornDisk), { recursive: true })
}

/** Undefined where there is no such disk. */
export async function startDisk(
  { longhornDisk, listen, syncListen }: DiskServing,
  config: Config,
  { terminal, log }: { terminal: Terminal; log: Logger },
): Promise<RunningDaemon | undefined> {
  if (longhornDisk === undefined) return undefined
  // What speaks gRPC takes its time to load.
  const { startDaemon } = await import('@backing-image/daemon')
  const { version, gitCommit, buildDate, env } = terminal
  return await startDaemon({
    listen,
    syncListen,
    diskPath: longhornDisk,
    diskUuid: '',
    portRange: parsePortRange(usualPorts),
    podIp: env['POD_IP'] ?? '',
    fetcher: openFetcher(config).fetcher,
    build: { version, gitCommit, buildDate },
    log,
  })
}

function imagesPath(disk: string): string {
  return join(resolve(disk), 'backing-images')
}
