// The commands that need a Longhorn, against a server that answers as the API would.

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type IncomingMessage, type Server, createServer } from 'node:http'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Ended, runHere } from '../testing/processes.ts'

const commands = suite('cli longhorn')

/** What the API would answer: its status and body, by method and path. */
let answers: Record<string, [number, object?] | [number, object?][]> = {}
let asked: { line: string; body: unknown }[] = []
const api: Server = createServer((incoming, outgoing) => {
  bodyOf(incoming).then((text) => {
    const line = `${incoming.method} ${incoming.url}`
    asked.push({ line, body: text === '' ? undefined : JSON.parse(text) })
    const found = answers[line] ?? [404, { detail: `There is no ${line}.` }]
    const [status, body] = Array.isArray(found[0])
      ? ((found as [number, object?][]).shift() ?? [500])
      : (found as [number, object?])
    outgoing.writeHead(status, { 'content-type': 'application/json' })
    outgoing.end(body && JSON.stringify(body))
  }, console.error)
})

async function bodyOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

commands.before(async () => {
  api.listen(0, '127.0.0.1')
  await once(api, 'listening')
})

commands.after(() => void api.close())

commands.before.each(() => {
  asked = []
  answers = {}
})

function ask(...args: string[]): Promise<Ended> {
  const address = api.address()
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
  return runHere(['backing-image', '--url', url, ...args])
}

function image(name: string, more: object = {}): object {
  return { name, uuid: '0123abcd', state: 'ready', version: '1', processedSize: 5, ...more }
}

commands('delete --force says so to the server, and without it nothing is said', async () => {
  answers = {
    'DELETE /v1/backing-images/debian': [409, { detail: 'It is still used by replicas.' }],
    'DELETE /v1/backing-images/debian?version=1&force=true': [204],
  }
  const refused = await ask('delete', 'debian')
  assert.is(refused.code, 1)
  assert.match(refused.stderr, 'It is still used by replicas.')
  const forced = await ask('delete', 'debian', '--version', '1', '--force')
  assert.equal(forced, { code: 0, stdout: '', stderr: '' })
})

commands('cleanup names its disks, and shows the copies that are left', async () => {
  const disks = { 'disk-3': { state: 'in-progress', progress: 40, message: '' } }
  const longhorn = { cluster: { name: 'debian-2', state: 'in-progress', message: '', disks } }
  answers = {
    'POST /v1/backing-images/debian/cleanup': [
      [200, image('debian', { longhorn })],
      [409, { detail: 'Longhorn does not: at least one ready copy is required' }],
    ],
  }
  const args = ['cleanup', 'debian', '--disk', 'disk-1', '--disk', 'disk-2', '-o', 'table']
  const { code, stdout, stderr } = await ask(...args)
  assert.is(code, 0, stderr)
  assert.equal(asked[0]?.body, { disks: ['disk-1', 'disk-2'] })
  assert.match(stdout, /\ncluster +debian-2 +disk-3 +in-progress 40%\n/)
  const refused = await ask(...args)
  assert.equal([refused.code, refused.stdout], [1, ''])
  assert.match(refused.stderr, 'at least one ready copy')
  assert.is((await ask('cleanup', 'debian')).code, 2)
})

commands('get shows what each cluster makes of an image', async () => {
  const copy = { state: 'ready', progress: 100, message: '' }
  const bytes = { size: 512, virtualSize: 512, realSize: 512, checksums: {} }
  const about = { labels: {}, parameters: {}, links: {}, warnings: [] }
  const longhorn = {
    one: {
      name: 'debian-2',
      state: 'ready',
      message: '',
      disks: { 'disk-1': copy, 'disk-2': copy },
    },
    two: { name: '', state: 'refused', message: 'Longhorn does not.', disks: {} },
  }
  answers = {
    'GET /v1/backing-images/debian': [200, image('debian', { ...bytes, ...about, longhorn })],
  }
  const { stdout } = await ask('get', 'debian', '-o', 'table')
  assert.match(stdout, /\nIn one +debian-2 ready \(ready, ready\)\n/)
  assert.match(stdout, /\nIn two +refused Longhorn does not\.\n/)
})

commands('import brings one image, under another name, and is 1 when that failed', async () => {
  const path = '/v1/backing-images/mine?uuid=0123abcd&wait=60'
  answers = {
    'POST /v1/backing-images': [202, image('mine', { state: 'pending' })],
    [`GET ${path}`]: [
      [200, image('mine', { state: 'in-progress' })],
      [200, image('mine', { state: 'failed', message: 'Longhorn is gone.' })],
    ],
  }
  const { code, stderr } = await ask('import', 'debian', '--as', 'mine', '-o', 'json')
  assert.is(code, 1)
  assert.match(stderr, 'debian has failed: Longhorn is gone.')
  assert.equal(asked[0]?.body, {
    name: 'mine',
    sourceType: 'longhorn',
    parameters: { 'backing-image': 'debian' },
  })
  const begun = await ask('import', 'debian', '--no-wait')
  assert.equal([begun.code, JSON.parse(begun.stdout).state], [0, 'pending'])
})

const listed = (name: string, more: object = {}) => ({
  name,
  state: 'ready',
  isOurs: false,
  currentChecksum: 'a'.repeat(128),
  ...more,
})

commands('import --all: one that fails stops no other, and what is here is skipped', async () => {
  const versions = [image('here', { version: '2', currentChecksum: 'b'.repeat(128) })]
  const older = image('here', { version: '1', currentChecksum: 'a'.repeat(128) })
  const data = [
    listed('broken'),
    listed('fine'),
    listed('here'),
    listed('ours', { isOurs: true }),
    listed('refused'),
    listed('unready', { state: 'in-progress' }),
  ]
  answers = {
    'GET /v1/longhorn/backing-images': [200, { data }],
    'GET /v1/backing-images/here/versions?limit=1000': [
      200,
      { data: [...versions, older], continue: null },
    ],
    'POST /v1/backing-images': [
      [202, image('broken', { state: 'pending' })],
      [202, image('fine', { state: 'pending' })],
      [400, { detail: 'refused is no image name.' }],
    ],
    'GET /v1/backing-images/broken?uuid=0123abcd&wait=60': [
      200,
      image('broken', { state: 'failed', message: 'The bytes are others.' }),
    ],
    'GET /v1/backing-images/fine?uuid=0123abcd&wait=60': [200, image('fine')],
  }
  const { code, stdout, stderr } = await ask('import', '--all', '-o', 'json')
  assert.is(code, 1)
  assert.is(
    stderr,
    'backing-image-manager: 1 imported, 1 skipped, 2 failed; 2 not ready, or from here.\n',
  )
  assert.equal(
    JSON.parse(stdout).data.toSorted((a: { name: string }, b: { name: string }) =>
      a.name < b.name ? -1 : 1,
    ),
    [
      { name: 'broken', result: 'failed', message: 'The bytes are others.' },
      { name: 'fine', result: 'imported', message: 'It is version 1.' },
      { name: 'here', result: 'skipped', message: 'Version 1 has these bytes.' },
      { name: 'refused', result: 'failed', message: 'refused is no image name.' },
    ],
  )
})

commands(
  'import --all: a table with its sum, 0 when nothing failed, without a wait too',
  async () => {
    answers = {
      'GET /v1/longhorn/backing-images': [200, { data: [listed('fine')] }],
      'POST /v1/backing-images': [202, image('fine', { state: 'pending', version: '4' })],
    }
    const args = ['--all', '--label', 'longhorn=off', '--no-wait', '-o', 'table']
    const { code, stdout } = await ask('import', ...args)
    assert.is(code, 0)
    assert.match(stdout, /^NAME +RESULT +MESSAGE\nfine +accepted +It becomes 4\.\n/)
    assert.match(stdout, /\n0 imported, 1 accepted\.\n$/)
    // With the checksum it is not taken for what was imported before Longhorn's was replaced.
    assert.equal(asked.at(-1)?.body, {
      name: 'fine',
      sourceType: 'longhorn',
      parameters: { 'backing-image': 'fine' },
      checksum: 'a'.repeat(128),
      labels: { longhorn: 'off' },
    })
    const unset = { detail: 'LONGHORN_API_URL is not set.' }
    answers = { 'GET /v1/longhorn/backing-images': [412, unset] }
    const off = await ask('import', '--all')
    assert.equal([off.code, off.stdout], [1, ''])
    assert.match(off.stderr, 'LONGHORN_API_URL is not set.')
  },
)

commands('import: --all goes with no name, and no name with nothing', async () => {
  for (const args of [['--all', 'debian'], ['--all', '--as', 'x1'], [], ['No_']]) {
    const { code, stdout } = await ask('import', ...args)
    assert.equal([code, stdout], [2, ''])
  }
  assert.equal(asked, [])
})

commands('what docs/longhorn.md would have operators type is understood', async () => {
  const guide = await readFile(new URL('../../../../docs/longhorn.md', import.meta.url), 'utf8')
  const lines = guide.replaceAll(/\\\n */g, '').match(/^backing-image-manager .*$/gm) ?? []
  assert.ok(lines.length > 10, `only ${lines.length} commands`)
  for (const line of lines) {
    const [command = ''] = line.split(' | ')
    const { code, stderr } = await ask(...command.split(' ').slice(2))
    // There is no such image, or file: but nothing is wrong with the words.
    assert.is(code, 1, `${line}: ${stderr}`)
  }
})

commands.run()
