// `version`: which version of this program it is.

import type { Command } from 'commander'
import type { Terminal } from './terminal.ts'

export function addVersion(program: Command, terminal: Terminal): void {
  program
    .command('version')
    .description('print the version of this program')
    .action(() => {
      terminal.stdout.write(`${terminal.version}\n`)
    })
}
