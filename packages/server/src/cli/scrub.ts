// `scrub`: has the server look through its whole store, and tells what it found.

import { type ScrubReport, formatReport, scrubSteps } from '@backing-image/core'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { setTimeout as delay } from 'node:timers/promises'
import { stringify } from 'yaml'
import { parseSize, sizeForm } from '../quantity.ts'
import type { Client } from './client.ts'
import { type Progress, startProgress } from './progress.ts'
import { addServerCommand, clientOf } from './server-options.ts'
import { CommandError, type Terminal } from './terminal.ts'

const forms = ['text', 'json', 'yaml'] as const

interface Options {
  repair?: true
  step?: string[]
  rate?: string
  wait: boolean
  output: (typeof forms)[number]
}

const pollMs = 500

export function addScrub(program: Command, terminal: Terminal): void {
  const names = scrubSteps.map(({ name }) => name)
  addServerCommand(program, 'scrub', 'look for what is wrong with the store, and mend it')
    .option('--repair', 'mend what can safely be mended (default: change nothing)')
    .addOption(new Option('--step <name...>', 'only these steps').choices(names))
    .option('--rate <size>', 'read images at most so fast, in bytes per second', readRate)
    .option('--no-wait', 'do not wait until it has ended')
    .addOption(new Option('-o, --output <form>').choices(forms).default('text'))
    .addHelpText('after', helpText)
    .action(async (options: Options, command: Command) => {
      const client = clientOf(command, terminal)
      const begun = await client.json<ScrubReport>('POST', '/v1/scrub', {
        repair: options.repair === true,
        ...(options.step === undefined ? {} : { steps: options.step }),
        ...(options.rate === undefined ? {} : { rate: options.rate }),
      })
      const report = options.wait ? await ended(client, begun, terminal) : begun
      terminal.stdout.write(written(report, options.output))
      conclude(report)
    })
}

const helpText = `
Steps:
${scrubSteps.map(({ name, what }) => `  ${name.padEnd(12)}${what}`).join('\n')}

Faults are wrong, notes are worth knowing. What is not of this store, such as Longhorn's own files in
the same folder, is noted at most and never touched. The server does the work: it goes on when this
command is ended, and stops on
  $ curl -X DELETE http://localhost:8080/v1/scrub/ID

Examples:
  $ backing-image-manager scrub
  $ backing-image-manager scrub --step records orphans --repair
  $ backing-image-manager scrub --rate 20MiB -o json

The exit code is 1 when a fault was found, be it repaired, or when the scrub did not get to its end.`

function readRate(text: string): string {
  if (!parseSize(text)) throw new InvalidArgumentError(`${sizeForm} is expected`)
  return text
}

/** The whole report, when it has ended; who watches sees how far it is. */
async function ended(client: Client, begun: ScrubReport, terminal: Terminal): Promise<ScrubReport> {
  const watching = new Watching(terminal)
  try {
    for (let report = begun; ;) {
      watching.show(report)
      if (report.state !== 'running') return report
      await delay(pollMs)
      report = await client.json<ScrubReport>('GET', `/v1/scrub/${begun.id}`)
    }
  } finally {
    watching.stop()
  }
}

/** A line for each step, and a bar while bytes are read: on stderr, and only for a terminal. */
class Watching {
  readonly #terminal: Terminal
  readonly #told = new Set<string>()
  #progress: Progress | undefined
  #bytes = 0

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  show({ steps }: ScrubReport): void {
    if (this.#terminal.stderr.isTTY !== true) return
    for (const { name, what, state, bytes, bytesExpected } of steps) {
      if (state === 'waiting') continue
      if (!this.#told.has(name)) this.#terminal.stderr.write(`${name}: ${what}\n`)
      this.#told.add(name)
      if (bytesExpected === 0) continue
      this.#progress ??= startProgress(this.#terminal, bytesExpected)
      this.#progress.add(bytes - this.#bytes)
      this.#bytes = bytes
    }
  }

  stop(): void {
    this.#progress?.stop()
  }
}

function written(report: ScrubReport, form: Options['output']): string {
  if (form === 'text') return formatReport(report)
  return form === 'json' ? `${JSON.stringify(report, null, '\t')}\n` : stringify(report)
}

function conclude({ id, state, message, faults, repaired }: ScrubReport): void {
  if (state === 'failed' || state === 'cancelled') {
    throw new CommandError(`Scrub ${id} was ${state} before its end. ${message}`.trim())
  }
  if (faults === 0) return
  const found = faults === 1 ? 'A fault was' : `${faults} faults were`
  const mended = repaired > 0 ? `; of what was found, ${repaired} is repaired` : ''
  throw new CommandError(`${found} found in the store${mended}.`)
}
