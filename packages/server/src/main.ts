// The program itself, and the only file that does something when it is loaded: it hands the process
// to the command line and ends with its exit code.

import { readFileSync } from 'node:fs'
import { hasHungCalls } from '@backing-image/backend-local'
import { runProgram } from './cli/program.ts'

const manifest: { version: string; gitCommit?: string; buildDate?: string } = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
)

// Who reads our output may stop before its end, as `head` does; or it is a file, and the disk is full.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') {
    process.stderr.write(`The output could not be written (${error.code}): it is not complete.\n`)
  }
  process.exit(1)
})

// At its end Node.js waits for its threads; one that hangs in the kernel would hold it for as long as
// that does, and nothing but this takes it away.
process.on('exit', () => {
  if (hasHungCalls()) process.kill(process.pid, 'SIGKILL')
})

const exitCode = await runProgram(process.argv.slice(2), {
  version: manifest.version,
  gitCommit: manifest.gitCommit ?? '',
  buildDate: manifest.buildDate ?? '',
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  announce: (url) => process.send?.({ url }),
  onSignal: (listener) => {
    process.on('SIGTERM', listener)
    process.on('SIGINT', listener)
  },
  abort: () => process.exit(1),
})
// That the last line could not be written is told a turn later.
await new Promise((resolve) => setImmediate(resolve))
// Nothing may keep a finished command alive, such as a connection that the other side leaves open.
process.exit(exitCode)
