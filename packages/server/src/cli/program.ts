// The command line as a whole: which commands there are, what all of them share, and what becomes of
// an error. Exit codes: 0 done, 1 failed, 2 usage, 78 configuration (EX_CONFIG of sysexits.h).

import { asError } from '@backing-image/core'
import { Command, CommanderError } from 'commander'
import { ConfigError } from '../config.ts'
import { addCheck } from './check.ts'
import { addCleanup } from './cleanup.ts'
import { addCreate } from './create.ts'
import { addDaemon } from './daemon.ts'
import { addDaemonCommands } from './daemon-commands.ts'
import { addDataSource } from './data-source.ts'
import { addDelete } from './delete.ts'
import { addDoctor } from './doctor.ts'
import { addDownload } from './download.ts'
import { addGet } from './get.ts'
import { addHealth } from './health.ts'
import { addImport } from './import.ts'
import { addList } from './list.ts'
import { addManifest } from './manifest.ts'
import { addPreflight } from './preflight.ts'
import { addRollback } from './rollback.ts'
import { addScrub } from './scrub.ts'
import { addServe } from './serve.ts'
import { type Terminal, UsageError } from './terminal.ts'
import { addUpload } from './upload.ts'
import { addVersion } from './version.ts'
import { addVersions } from './versions.ts'

const programName = 'backing-image-manager'

/** Runs one command line, without the name of the program, and resolves to its exit code. */
export async function runProgram(args: string[], terminal: Terminal): Promise<number> {
  try {
    await createProgram(terminal).parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    // Help and --version end in this way too; commander has written what there is to say.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    const lines = error instanceof ConfigError ? error.faults : [asError(error).message]
    for (const line of lines) {
      terminal.stderr.write(`${programName}: ${oneLine(line)}\n`)
    }
    if (error instanceof ConfigError) return 78
    return error instanceof UsageError ? 2 : 1
  }
}

function createProgram(terminal: Terminal): Command {
  const program = new Command(programName)
    .description('Keeps virtual-machine base images once and hands every cluster the exact bytes.')
    .version(terminal.version, '-v, --version')
    .option('--debug', 'let the command that is started log everything')
    // Otherwise the --version of `upload` would be taken for the program's own.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => terminal.stdout.write(text),
      writeErr: (text) => terminal.stderr.write(text),
      outputError: (text, write) => {
        const line = oneLine(text.replace(/^error: /, '')).replace(/\.$/, '')
        write(`${programName}: ${line}. See --help.\n`)
      },
    })
    .addHelpText('after', programHelp)
  addServe(program, terminal)
  const group = program
    .command('backing-image')
    .description('look at, store and fetch images of a server')
    .option('--url <url>', 'http://HOST:PORT of a server, or HOST:PORT of a daemon')
    .addHelpText('after', groupHelp)
  addList(group, terminal)
  addGet(group, terminal)
  addVersions(group, terminal)
  addUpload(group, terminal)
  addCreate(group, terminal)
  addDownload(group, terminal)
  addRollback(group, terminal)
  addDelete(group, terminal)
  addManifest(group, terminal)
  addPreflight(group, terminal)
  addCheck(group, terminal)
  addImport(group, terminal)
  addCleanup(group, terminal)
  addDaemonCommands(group, terminal)
  // Only who serves a disk waits for what that needs to load.
  const disk = async () => await import('@backing-image/daemon')
  addDaemon(program, terminal, async (options) => await (await disk()).startDaemon(options))
  addDataSource(program, terminal, async (options) => await (await disk()).startDataSource(options))
  addScrub(program, terminal)
  addDoctor(program, terminal)
  addHealth(program, terminal)
  addVersion(program, terminal)
  return program
}

function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, ' ')
}

const programHelp = `
Examples:
  $ BACKING_IMAGE_STORAGE_PATH=/srv/images backing-image-manager serve
  $ backing-image-manager backing-image upload debian debian-12.qcow2
  $ backing-image-manager backing-image list
  $ backing-image-manager scrub
  $ backing-image-manager doctor

Without a command the server is started. It is configured by the environment alone; every fault in it
is told before it listens. API_TOKEN, or the file that API_TOKEN_FILE names, is sent with every
request. Exit codes: 0 done, 1 failed, 2 usage, 78 configuration.`

const groupHelp = `
Examples:
  $ backing-image-manager backing-image upload debian debian-12.qcow2 --checksum sha256:8a2d...
  $ backing-image-manager backing-image list
  $ backing-image-manager backing-image download debian -o debian.qcow2
  $ backing-image-manager backing-image manifest debian --kind StorageClass | kubectl apply -f -
  $ backing-image-manager backing-image --url https://images.example.org get debian -o yaml
  $ backing-image-manager backing-image --url localhost:8000 get --name debian --uuid 0123abcd

--url with http:// or https:// names a server, HOST:PORT alone a daemon of a Longhorn disk. Without it
that is BACKING_IMAGE_MANAGER_URL, else the server of this machine; "list", "get" and "delete" go to the
daemon at localhost:8000 where no server runs, and "send", "sync", "file-sync" and "prepare-download",
which only a daemon has, always do.`
