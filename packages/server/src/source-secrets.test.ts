// A secret is a plain file: whatever else stands in its place is refused at once, and by its name.

import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { SourceSecrets } from './source-secrets.ts'

const secrets = suite('source secrets')

const folder = mkdtempSync(join(tmpdir(), 'source-secrets-'))
secrets.after(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)

/** What is told of it; fails the test rather than hang it. */
async function told(name: string): Promise<string> {
  const late = delay(5_000, 'It never ended.', { ref: false })
  const read = new SourceSecrets(folder).read(name).then(
    () => 'It was read.',
    (error: unknown) => String(error),
  )
  return await Promise.race([read, late])
}

secrets('a pipe, a folder, a device and what is too large are refused at once', async () => {
  execFileSync('mkfifo', [at('pipe')])
  mkdirSync(at('folder'))
  symlinkSync('/dev/zero', at('zero'))
  for (const name of ['pipe', 'folder', 'zero']) {
    assert.match(await told(name), `The secret ${name} is no plain file in SOURCE_SECRETS_DIR.`)
  }
  writeFileSync(at('large'), '')
  truncateSync(at('large'), 2 ** 40)
  assert.match(await told('large'), 'The secret large is over 65536 bytes.')
  assert.match(await told('none'), 'The secret none: there is no such file in SOURCE_SECRETS_DIR.')
})

secrets('a link to a file is one, as a mounted Secret has it', async () => {
  writeFileSync(at('file'), '{"hosts": ["a.example"], "token": "t"}')
  symlinkSync('file', at('link'))
  const expected = { hosts: ['a.example'], headers: { authorization: 'Bearer t' } }
  assert.equal(await new SourceSecrets(folder).read('link'), expected)
})

secrets.run()
