// The commands that talk to a server, against a real one.

import { createHash } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { type Ended, type RunningServer, runHere, startServer } from '../testing/processes.ts'

const images = suite('cli images')
const bytes = Buffer.alloc(300_000, 'some image ')
const sha512 = createHash('sha512').update(bytes).digest('hex')
let server: RunningServer
let folder: string
let file: string

images.before(async () => {
  server = await startServer({ API_TOKEN: 'secret', URL_SIGNING_KEY: 'key' })
  folder = await mkdtemp(join(tmpdir(), 'cli-'))
  file = join(folder, 'disk.img')
  await writeFile(file, bytes)
  await succeed('upload', 'debian', file, '--version', '12.5', '--label', 'os=linux=yes')
})

images.after(async () => {
  await server?.stop()
  await rm(folder, { recursive: true })
})

function ask(args: string[], input: string | Buffer = ''): Promise<Ended> {
  const env = { BACKING_IMAGE_MANAGER_URL: server.url, API_TOKEN: 'secret' }
  return runHere(['backing-image', ...args], env, input)
}

async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ask(args)
  assert.is(code, 0, stderr)
  assert.is(stderr, '')
  return stdout
}

async function json(...args: string[]): Promise<Record<string, unknown>> {
  return JSON.parse(await succeed(...args))
}

/** Fails with one line on stderr, nothing on stdout, and this exit code. */
async function fail(code: number, args: string[], line: RegExp): Promise<void> {
  const ended = await ask(args)
  assert.is(ended.code, code, ended.stderr)
  assert.is(ended.stdout, '')
  assert.match(ended.stderr, line)
  assert.match(ended.stderr, /^backing-image-manager: [^\n]*\n$/)
}

images('list prints an object, name to image, in exactly the shape of Longhorn', async () => {
  const { debian } = await json('list')
  const { uuid, realSize } = await json('get', 'debian')
  assert.equal(debian, {
    name: 'debian',
    uuid,
    size: bytes.length,
    virtualSize: 300_032,
    realSize,
    expectedChecksum: '',
    status: {
      state: 'ready',
      currentChecksum: sha512,
      sendingReference: 0,
      errorMsg: '',
      senderManagerAddress: '',
      progress: 100,
    },
  })
  assert.equal(parse(await succeed('ls', '-o', 'yaml')), { debian })
  const table = await succeed('list', '-o', 'table')
  assert.match(table, /^NAME +VERSION +UUID .*\ndebian +12\.5 /)
})

images(
  'get shows one image with what Longhorn does not know, by argument or by --name',
  async () => {
    const image = await json(
      'get',
      '--name',
      'debian',
      '--uuid',
      String((await json('get', 'debian'))['uuid']),
    )
    assert.is(image['version'], '12.5')
    assert.equal(image['labels'], { os: 'linux=yes' })
    const { debian } = await json('list')
    assert.equal({ ...image, ...Object(debian) }, image)
  },
)

images('upload --decompress stores what is inside, and without it that is refused', async () => {
  const packed = join(folder, 'disk.img.gz')
  await writeFile(packed, gzipSync(bytes))
  await fail(1, ['upload', 'packed', packed], /decompress=auto/)
  const image = await json('upload', 'packed', packed, '--decompress')
  assert.is(image['currentChecksum'], sha512)
  assert.match(await succeed('get', 'packed', '-o', 'table'), /Packed\s+gzip, \d+ bytes, SHA-256 /)
})

images('upload of stdin is the same image as that of the file', async () => {
  const { code, stdout, stderr } = await ask(['upload', 'piped', '-'], bytes)
  assert.is(code, 0, stderr)
  assert.is(JSON.parse(stdout).currentChecksum, sha512)
})

images(
  'what the server refuses is shown in its own words, and stdin is not waited for',
  async () => {
    await fail(1, ['upload', 'debian', file, '--version', 'no good'], /"no good" is no version/)
    await fail(1, ['upload', 'wrong', file, '--checksum', `sha256:${'0'.repeat(64)}`], /sha256/)
    await fail(1, ['create', 'made', '--source-type', 'nowhere'], /nowhere/)
    await fail(1, ['get', 'absent'], /absent/)
  },
)

images('faults of usage are exit code 2, and nothing is asked of the server', async () => {
  await fail(2, ['upload', 'debian', file, '--checksum', '00'], /--checksum: /)
  await fail(2, ['get'], /Which image\?/)
  await fail(2, ['get', 'NoName'], /no image name/)
  await fail(2, ['get', 'debian', '--name', 'debian'], /one argument too many/)
  await fail(2, ['upload', 'debian'], /Which FILE\?/)
  await fail(2, ['upload', 'debian', file, '--label', 'novalue'], /key=value is expected/)
  await fail(2, ['list', '-o', 'xml'], /table, json, yaml/)
  await fail(2, ['create', 'made'], /--source-type/)
  await fail(2, ['rollback', 'debian'], /Which VERSION\?/)
})

images('a file that can not be sent is told before a connection is made', async () => {
  await fail(1, ['upload', 'debian', join(folder, 'absent')], /can not be read/)
  await fail(1, ['upload', 'debian', folder], /is a folder/)
})

images('no server, a wrong URL and a wrong token say what to do', async () => {
  await fail(1, ['list', '--url', 'http://127.0.0.1:1'], /No server answers .*--url/)
  await fail(78, ['list', '--url', 'ftp://host'], /--url: "ftp:\/\/host"/)
  const env = { BACKING_IMAGE_MANAGER_URL: server.url }
  const { code, stderr } = await runHere(['backing-image', 'list'], env)
  assert.is(code, 1)
  assert.match(stderr, 'API_TOKEN')
})

images('--url works before and after the command, and a token file is read', async () => {
  const tokenFile = join(folder, 'token')
  await writeFile(tokenFile, 'secret\n')
  const env = { API_TOKEN_FILE: tokenFile }
  for (const args of [
    ['--url', server.url, 'list'],
    ['list', '--url', server.url],
  ]) {
    const { code, stderr } = await runHere(['backing-image', ...args], env)
    assert.is(code, 0, stderr)
  }
})

images(
  'download writes the exact bytes, into a folder, a file, through a link, or to stdout',
  async () => {
    const target = await mkdtemp(join(folder, 'target-'))
    const path = (await succeed('download', 'debian', '-o', target)).trim()
    assert.is(path, join(target, 'debian-12.5.img'))
    await symlink(path, join(target, 'link'))
    await writeFile(path, 'older')
    await succeed('download', '--name', 'debian', '--version', '12.5', '-o', join(target, 'link'))
    assert.ok(bytes.equals(await readFile(path)))
    assert.equal((await readdir(target)).toSorted(), ['debian-12.5.img', 'link'])
    const stdout = await succeed('download', 'debian', '-o', '-')
    assert.ok(bytes.equals(Buffer.from(stdout, 'latin1')))
  },
)

images('a device is written to, never replaced', async () => {
  await succeed('download', 'debian', '-o', '/dev/null')
  assert.is((await readFile('/dev/null')).length, 0)
  assert.not.ok((await readdir('/dev')).some((name) => name.startsWith('null.')))
})

images('versions, rollback and delete', async () => {
  await succeed('upload', 'alpine', file)
  const other = join(folder, 'other.img')
  await writeFile(other, 'other bytes')
  await succeed('upload', 'alpine', other)
  const back = await json('rollback', 'alpine', '1')
  assert.is(back['version'], '3')
  assert.is(back['currentChecksum'], sha512)
  const versions: { version: string }[] = JSON.parse(await succeed('versions', 'alpine'))
  assert.equal(
    versions.map((each) => each.version),
    ['3', '2', '1'],
  )
  // 3 and 1 have the same uuid: nothing is deleted on a guess.
  await fail(1, ['delete', 'alpine', '--uuid', String(back['uuid'])], /nothing was deleted/)
  assert.is(await succeed('delete', 'alpine', '--version', '3'), '')
  const { uuid } = await json('get', 'alpine', '--version', '2')
  assert.is(await succeed('delete', '--name', 'alpine', '--uuid', String(uuid)), '')
  assert.is((await json('get', 'alpine'))['version'], '1')
  await succeed('delete', 'alpine')
  await fail(1, ['get', 'alpine'], /alpine/)
  await fail(1, ['delete', 'alpine'], /alpine/)
})

images.run()
