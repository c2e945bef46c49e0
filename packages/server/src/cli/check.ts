// `backing-image check`: a StorageClass, judged as Longhorn's CSI plugin would, before it is applied.

import { readFile } from 'node:fs/promises'
import { text as textOf } from 'node:stream/consumers'
import { asError } from '@backing-image/core'
import type { Problem } from '@backing-image/longhorn'
import { type Command, Option } from 'commander'
import { stringify } from 'yaml'
import { addServerCommand, clientOf } from './server-options.ts'
import { CommandError, type Terminal } from './terminal.ts'

const forms = ['text', 'json', 'yaml'] as const

interface Options {
  file: string
  output: (typeof forms)[number]
}

interface Checked {
  valid: boolean
  problems: Problem[]
}

const helpText = `
One document, YAML or JSON. The image that it names must be in the store and agree with it, or be one that
Longhorn can make from what the StorageClass says. Nothing is written. The exit code is 1 when it is not
valid.

Examples:
  $ backing-image-manager backing-image check -f storage-class.yaml
  $ kubectl get storageclass longhorn-debian -o yaml | backing-image-manager backing-image check -f -`

export function addCheck(group: Command, terminal: Terminal): void {
  addServerCommand(group, 'check', 'check a StorageClass that names a backing image')
    .requiredOption('-f, --file <file>', 'the StorageClass; - is the standard input')
    .addOption(new Option('-o, --output <form>').choices(forms).default('text'))
    .addHelpText('after', helpText)
    .action(async ({ file, output }: Options, command: Command) => {
      const text = await contentOf(file, terminal)
      // JSON may be indented with tabs, which YAML does not take.
      const type = text.trimStart().startsWith('{') ? 'application/json' : 'application/yaml'
      const client = clientOf(command, terminal)
      const checked = await client.send<Checked>('POST', '/v1/storage-classes/validate', {
        text,
        type,
      })
      terminal.stdout.write(written(checked, output))
      const { valid, problems } = checked
      if (valid) return
      const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`
      throw new CommandError(`The StorageClass has ${count}.`)
    })
}

async function contentOf(file: string, { stdin }: Terminal): Promise<string> {
  if (file === '-') return await textOf(stdin)
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw new CommandError(`${file} can not be read: ${asError(error).message}.`)
  }
}

function written(checked: Checked, form: Options['output']): string {
  if (form === 'json') return `${JSON.stringify(checked, null, '\t')}\n`
  if (form === 'yaml') return stringify(checked)
  if (checked.valid) return 'The StorageClass is valid.\n'
  return checked.problems.map(paragraph).join('\n')
}

function paragraph({ field, expected, actual, message }: Problem): string {
  return `${field}\n  expected  ${expected}\n  actual    ${actual || '(nothing)'}\n  ${message}\n`
}
