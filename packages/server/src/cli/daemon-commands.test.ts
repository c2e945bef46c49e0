// The commands against a daemon: Longhorn's output to the byte, and which --url they need.

import { type DaemonHere, startDaemonHere } from '@backing-image/daemon/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Ended, type RunningServer, runHere, startServer } from '../testing/processes.ts'

const commands = suite('cli daemon commands')
let daemon: DaemonHere
let other: DaemonHere
let server: RunningServer

commands.before(async () => {
  server = await startServer()
})
commands.after(async () => {
  await server?.stop()
})
commands.before.each(async () => {
  daemon = await startDaemonHere()
  other = await startDaemonHere()
})
commands.after.each(async () => {
  await Promise.all([daemon.server.close(), other.server.close()])
})

const key = ['--name', 'a', '--uuid', '0123abcd']
const path = '/no-disk/backing-images/a-0123abcd/backing'

async function ask(...args: string[]): Promise<Ended> {
  return await runHere(['backing-image', '--url', daemon.address, ...args])
}

async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ask(...args)
  assert.is(code, 0, stderr)
  assert.is(stderr, '')
  return Buffer.from(stdout, 'latin1').toString()
}

async function fail(code: number, args: string[], line: RegExp): Promise<void> {
  const ended = await ask(...args)
  assert.is(ended.code, code, ended.stderr)
  assert.is(ended.stdout, '')
  assert.match(ended.stderr, line)
  assert.match(ended.stderr, /^backing-image-manager: [^\n]*\n$/)
}

const printed = `{
	"name": "a",
	"uuid": "0123abcd",
	"size": 512,
	"virtualSize": 0,
	"realSize": 0,
	"expectedChecksum": "ff",
	"status": {
		"state": "pending",
		"currentChecksum": "",
		"sendingReference": 0,
		"errorMsg": "",
		"senderManagerAddress": "",
		"progress": 0
	}
}
`

commands('sync takes over, and prints what get prints', async () => {
  assert.is(await succeed('sync', ...key, '--size', '512', '--checksum', 'ff'), printed)
  assert.is(await succeed('get', ...key), printed)
  assert.equal(daemon.files.asked, [`fetch ${path}`])
  const again = ['sync', ...key, '--size', '512']
  await fail(1, again, /answered UNKNOWN: .*already exists/)
})

commands('list is in the order of bytes, and safe inside HTML, as Go has it', async () => {
  assert.is(await succeed('list'), '{}\n')
  for (const name of ['b', '10', '9', 'a<&>\u2028']) {
    await daemon.client.fetch({ name, uuid: name, size: 512, checksum: '' }, '')
  }
  const text = await succeed('ls')
  const names = [...text.matchAll(/^\t"(.*)": \{$/gm)].map(([, name]) => name)
  assert.equal(names, ['10', '9', 'a\\u003c\\u0026\\u003e\\u2028', 'b'])
  assert.equal(Object.keys(JSON.parse(text)).length, 4)
  assert.match(text, '\n\t\t"status": {\n\t\t\t"state": "pending",\n')
})

commands('delete, send and prepare-download', async () => {
  await succeed('sync', ...key, '--size', '512')
  await fail(1, ['prepare-download', ...key], /FAILED_PRECONDITION: .*pending/)
  daemon.files.change(path, { state: 'ready' })
  assert.is(
    await succeed('prepare-download', ...key),
    `Source file path: ${path}\nDownload server address: 127.0.0.1:8001\n`,
  )
  assert.is(await succeed('send', ...key, '--to-address', '127.0.0.1:9'), '')
  assert.ok(daemon.files.asked.includes('send to 127.0.0.1:9'))
  assert.is(await succeed('del', ...key), '')
  assert.is(await succeed('delete', ...key), '')
  await fail(1, ['get', ...key], /answered NOT_FOUND: cannot find backing image a\(0123abcd\)/)
})

commands('file-sync asks the other daemon', async () => {
  await other.client.fetch({ name: 'a', uuid: '0123abcd', size: 512, checksum: '' }, '')
  other.files.change(path, { state: 'ready' })
  const args = ['file-sync', ...key, '--size', '512', '--from-address', other.address]
  assert.match(await succeed(...args), '"state": "starting"')
  for (let tries = 0; other.files.asked.length < 2 && tries < 100; tries += 1) {
    await new Promise((done) => setTimeout(done, 20))
  }
  assert.equal(other.files.asked, [`fetch ${path}`, 'send to 127.0.0.1:30001'])
})

commands('what is missing is 1, as in Longhorn; a wrong kind of --url or flag is 2', async () => {
  await fail(1, ['get', '--name', 'a'], /both --name and --uuid/)
  await fail(1, ['delete'], /both --name and --uuid/)
  await fail(1, ['sync', ...key], /--size/)
  await fail(1, ['sync', ...key, '--size', '-512'], /--size/)
  await fail(2, ['sync', ...key, '--size', '1k'], /--size/)
  await fail(1, ['send', ...key], /--to-address/)
  await fail(1, ['file-sync', ...key, '--size', '512'], /--from-address/)
  await fail(2, ['list', '-o', 'json'], /--output is for a server: .*--url http:\/\//)
  await fail(2, ['get', ...key, '--version', '1'], /--version is for a server/)
  await fail(2, ['delete', ...key, '--force'], /--force is for a server/)
  await fail(2, ['versions', 'debian'], /"versions" asks a server: .*--url http:\/\//)
  assert.equal(daemon.files.asked, [])
  for (const args of [
    ['send', ...key, '--to-address', 'a:1'],
    ['sync', ...key, '--size', '512'],
    ['file-sync', ...key, '--size', '512', '--from-address', 'a:1'],
    ['prepare-download', ...key],
  ]) {
    const { code, stderr } = await runHere(['backing-image', '--url', server.url, ...args])
    assert.is(code, 2, stderr)
    assert.match(stderr, `"${args[0]}" asks a daemon of Longhorn's: name one with --url HOST:PORT`)
  }
})

commands('an address that is none, and nobody there, say what to do', async () => {
  const none = await runHere(['backing-image', 'list', '--url', 'localhost'])
  assert.is(none.code, 2)
  assert.match(none.stderr, /--url: "localhost" is no address.*http:\/\/HOST:PORT/)
  const nobody = await runHere(['backing-image', 'list', '--url', '127.0.0.1:1'])
  assert.is(nobody.code, 1)
  assert.match(nobody.stderr, /No daemon answers at 127.0.0.1:1 .*ECONNREFUSED.*--url/)
})

commands(
  'without --url the server of this machine comes first; version tells of both',
  async () => {
    const { port } = new URL(server.url)
    const listed = await runHere(['backing-image', 'list', '-o', 'yaml'], { PORT: port })
    assert.is(listed.stdout, '{}\n', listed.stderr)
    const ofServer = JSON.parse((await runHere(['version'], { PORT: port })).stdout)
    assert.match(ofServer.serverVersion.version, /^\d+\.\d+\.\d+$/)
    assert.is(ofServer.serverVersion.backingImageManagerAPIVersion, 0)
    const ofDaemon = JSON.parse((await runHere(['version', '--url', daemon.address])).stdout)
    assert.equal(ofDaemon.serverVersion, {
      version: '1.2.3',
      gitCommit: 'commit',
      buildDate: 'date',
      backingImageManagerAPIVersion: 3,
      backingImageManagerAPIMinVersion: 3,
    })
  },
)

commands.run()
