// `version`: which version of this program it is, and of the one that it would talk to, as Longhorn's
// own tool tells it (contract §5).

import type { Build } from '@backing-image/daemon'
import { apiMinVersion, apiVersion } from '@backing-image/daemon/options'
import type { Command } from 'commander'
import { goJson } from './daemon-output.ts'
import { type Target, askDaemon, targetOf } from './target.ts'
import type { Terminal } from './terminal.ts'

const versionHelp = `
What runs on this machine is asked where --url names nothing; null stands for none.

Examples:
  $ backing-image-manager version --client-only
  $ backing-image-manager version --url http://localhost:8080
  $ backing-image-manager version --url localhost:8000`

interface Version extends Build {
  backingImageManagerAPIVersion: number
  backingImageManagerAPIMinVersion: number
}

export function addVersion(program: Command, terminal: Terminal): void {
  program
    .command('version')
    .description('print the version of this program and of the one that runs, as JSON')
    .option('--client-only', 'ask nobody')
    .option('--url <url>', 'http://HOST:PORT of a server, or HOST:PORT of a daemon')
    .addHelpText('after', versionHelp)
    .action(async (options: { clientOnly?: true }, command: Command) => {
      const { version, gitCommit, buildDate } = terminal
      const clientVersion: Version = {
        version,
        gitCommit,
        buildDate,
        backingImageManagerAPIVersion: apiVersion,
        backingImageManagerAPIMinVersion: apiMinVersion,
      }
      const target = options.clientOnly ? undefined : await targetOf(command, terminal)
      const serverVersion = target === undefined ? null : await versionOf(target)
      terminal.stdout.write(`${goJson({ clientVersion, serverVersion })}\n`)
    })
}

async function versionOf(target: Target): Promise<Version> {
  if (target.kind === 'server') {
    const { info } = await target.client.json<{ info: { version: string } }>('GET', '/openapi.json')
    // It has another interface than a daemon.
    const api = { backingImageManagerAPIVersion: 0, backingImageManagerAPIMinVersion: 0 }
    return { version: info.version, gitCommit: '', buildDate: '', ...api }
  }
  const told = await askDaemon(target.daemon, (daemon) => daemon.version())
  return {
    version: told.version,
    gitCommit: told.gitCommit,
    buildDate: told.buildDate,
    backingImageManagerAPIVersion: told.backing_image_manager_api_version,
    backingImageManagerAPIMinVersion: told.backing_image_manager_api_min_version,
  }
}
