// The program as a process: its exit codes, its lines, its signals.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { binary, run, runHere, start, startServer } from '../testing/processes.ts'

const program = suite('cli program')
let folder: string

program.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'program-'))
})
program.after(() => rm(folder, { recursive: true }))

program('every fault of the configuration is one line, and the exit code is 78', async () => {
  const ended = await run([], { PORT: 'x', IDLE_TIMEOUT: '30', API_READ_TOKEN: 'hidden' })
  assert.is(ended.code, 78)
  assert.is(ended.stdout, '')
  const lines = ended.stderr.trimEnd().split('\n')
  assert.is(lines.length, 3)
  assert.ok(lines.every((line) => line.startsWith('backing-image-manager: ')))
  assert.not.match(ended.stderr, 'hidden')
})

program('a storage that can not be used is 78, before anything listens', async () => {
  const path = join(folder, 'absent')
  const missing = await run(['serve'], { BACKING_IMAGE_STORAGE_PATH: path, PORT: '0' })
  assert.is(missing.code, 78)
  assert.match(missing.stderr, path)
  assert.not.ok((await readdir(folder)).includes('absent'))
  const unmounted = { STORAGE_BACKEND_TYPE: 'nfs', BACKING_IMAGE_STORAGE_PATH: folder }
  const ordinary = await runHere(['serve'], unmounted)
  assert.is(ordinary.code, 78)
  assert.match(ordinary.stderr, 'NFS')
})

program('a bucket that does not answer is 1: the next start may find it well', async () => {
  const ended = await runHere(['serve'], {
    STORAGE_BACKEND_TYPE: 's3',
    S3_ENDPOINT: 'http://127.0.0.1:1',
    S3_ACCESS_KEY: 'a',
    S3_SECRET_KEY: 'very-secret',
    S3_BUCKET: 'images',
  })
  assert.is(ended.code, 1)
  assert.match(ended.stderr, 'http://127.0.0.1:1')
  assert.not.match(ended.stderr, 'very-secret')
})

program('output that can not be written is an error in a sentence', async () => {
  const full = await open('/dev/full', 'w')
  const child = spawn(process.execPath, [binary, 'version'], {
    stdio: ['ignore', full.fd, 'pipe'],
  })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const [code] = await once(child, 'close')
  await full.close()
  assert.is(code, 1)
  assert.is(stderr, 'The output could not be written (ENOSPC): it is not complete.\n')
})

program('usage: help is 0 and on stdout; what is unknown is 2 and one line', async () => {
  for (const args of [['--help'], ['backing-image', 'upload', '--help'], ['serve', '--help']]) {
    const ended = await runHere(args)
    assert.is(ended.code, 0)
    assert.is(ended.stderr, '')
    assert.match(ended.stdout, 'Example')
  }
  for (const args of [['nothing'], ['--nothing'], ['backing-image', 'nothing'], ['doctor', 'x']]) {
    const ended = await runHere(args)
    assert.is(ended.code, 2)
    assert.is(ended.stdout, '')
    assert.match(ended.stderr, /^backing-image-manager: .*--help\.\n$/)
  }
  assert.match((await run(['--version'])).stdout, /^\d+\.\d+\.\d+\n$/)
})

program(
  'version is JSON, in the shape of Longhorn; nobody is asked with --client-only',
  async () => {
    const clientVersion = {
      version: (await run(['-v'])).stdout.trim(),
      gitCommit: '',
      buildDate: '',
      backingImageManagerAPIVersion: 3,
      backingImageManagerAPIMinVersion: 3,
    }
    const { stdout } = await run(['version', '--client-only'])
    assert.is(stdout, `${JSON.stringify({ clientVersion, serverVersion: null }, null, '\t')}\n`)
    const absent = await runHere(['version', '--url', 'http://127.0.0.1:1'])
    assert.is(absent.code, 1)
    assert.match(absent.stderr, 'No server answers')
  },
)

program('--debug, before the command or after it, is stronger than LOG_LEVEL', async () => {
  const path = await mkdtemp(join(tmpdir(), 'debug-'))
  const env = { HOST: '127.0.0.1', PORT: '0', BACKING_IMAGE_STORAGE_PATH: path, LOG_LEVEL: 'error' }
  for (const args of [['--debug', 'serve'], ['serve', '--debug'], ['--debug'], []]) {
    const running = start(args, env)
    await once(running.child, 'message')
    running.child.kill('SIGTERM')
    const { stdout } = await running.ended
    assert.is(stdout.includes('"msg":"serving"'), args.length > 0, args.join(' '))
  }
  await rm(path, { recursive: true })
})

program('a HOST of another machine is a fault of the configuration', async () => {
  const path = await mkdtemp(join(tmpdir(), 'host-'))
  // RFC 5737: no machine has this address.
  const env = { HOST: '192.0.2.1', PORT: '0', BACKING_IMAGE_STORAGE_PATH: path, LOG_LEVEL: 'error' }
  const { code, stderr } = await runHere(['serve'], env)
  await rm(path, { recursive: true })
  assert.is(code, 78)
  assert.match(stderr, /^backing-image-manager: HOST: "192.0.2.1" was given/)
})

program('the server says once where it is, and that nobody needs a token', async () => {
  const server = await startServer({ HOST: '0.0.0.0' })
  assert.is((await fetch(`${server.url}/health`)).status, 200)
  const { code, stdout, stderr } = await server.stop()
  assert.is(code, 0)
  assert.is(stderr, '')
  const lines: Record<string, unknown>[] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  const serving = lines.filter((line) => line['msg'] === 'serving')
  assert.is(serving.length, 1)
  assert.is(serving[0]?.['address'], server.url)
  assert.is(serving[0]?.['backend'], 'local')
  assert.is(serving[0]?.['place'], server.path)
  assert.is(lines.filter((line) => /API_TOKEN/.test(String(line['msg']))).length, 1)
  assert.is(lines.filter((line) => /Longhorn is off/.test(String(line['msg']))).length, 1)
})

program('on loopback, or with a token, there is no warning; Longhorn is logged', async () => {
  const server = await startServer({ LONGHORN_API_URL: 'http://127.0.0.1:1' })
  const { code, stdout } = await server.stop()
  assert.is(code, 0)
  assert.not.match(stdout, 'API_TOKEN')
  assert.match(stdout, '"apiUrl":"http://127.0.0.1:1","cluster":"127.0.0.1"')
  assert.match(stdout, /nothing is registered: PUBLIC_URL is not set/)
  const warnings = stdout.split('\n').filter((line) => line.includes('"warn"'))
  assert.ok(warnings.every((line) => line.includes('Longhorn') || line.includes('PUBLIC_URL')))
  assert.not.match(stdout, 'Longhorn is off')
})

/** Begins an upload and resolves once the server has the first of its bytes. */
async function beginUpload(url: string): Promise<ClientRequest> {
  const headers = { expect: '100-continue', 'content-length': 6 }
  const upload = request(`${url}/v1/backing-images/slow`, { method: 'PUT', headers })
  upload.flushHeaders()
  await once(upload, 'continue')
  upload.write('abc')
  return upload
}

program('SIGTERM lets an upload finish, and then the exit code is 0', async () => {
  const server = await startServer()
  const upload = await beginUpload(server.url)
  server.child.kill('SIGTERM')
  assert.is(await Promise.race([server.ended, delay(200, 'running')]), 'running')
  upload.end('def')
  const [answer]: IncomingMessage[] = await once(upload, 'response')
  assert.is(answer?.statusCode, 201)
  assert.is((await server.ended).code, 0)
  await server.stop()
})

program('a signal that comes twice at once is one; a later one ends it at once', async () => {
  const server = await startServer()
  const upload = await beginUpload(server.url)
  upload.on('error', () => {})
  server.child.kill('SIGINT')
  server.child.kill('SIGTERM')
  assert.is(await Promise.race([server.ended, delay(400, 'running')]), 'running')
  assert.is((await server.stop()).code, 1)
  upload.destroy()
})

program('a port that is in use is told with what to do', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const address = other.address()
  const port = typeof address === 'object' ? String(address?.port) : ''
  const env = { HOST: '127.0.0.1', PORT: port, BACKING_IMAGE_STORAGE_PATH: folder }
  const { code, stderr } = await run(['serve'], env)
  other.close()
  assert.is(code, 1)
  assert.match(stderr, /is in use\. .*set PORT/)
})

program('health is 0 when the server answers, else 1 and nothing else', async () => {
  const server = await startServer()
  const port = new URL(server.url).port
  const alive = await run(['health'], { PORT: port })
  assert.equal(alive, { code: 0, stdout: '', stderr: '' })
  await server.stop()
  assert.is((await run(['health'], { PORT: port })).code, 1)
  assert.is((await runHere(['health'], { PORT: 'x' })).code, 1)
})

program('the pool of threads has 16, or as many as are asked for', async () => {
  const preload = join(folder, 'preload.cjs')
  await writeFile(preload, 'process.on("exit", () => console.log(process.env.UV_THREADPOOL_SIZE))')
  const env = { NODE_OPTIONS: `--require ${preload}` }
  assert.match((await run(['version'], env)).stdout, /\n16\n$/)
  assert.match((await run(['version'], { ...env, UV_THREADPOOL_SIZE: '4' })).stdout, /\n4\n$/)
})

program.run()
