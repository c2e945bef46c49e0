// What the commands make of a server's answers, also of those that ours does not give.

import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Ended, runHere, start } from '../testing/processes.ts'

const client = suite('cli client')
type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => void
let answer: Answer = () => {}
let requests: string[] = []
let folder: string
const server = createServer((incoming, outgoing) => take(incoming, outgoing))
// Without this Node.js would agree to every body by itself.
server.on('checkContinue', (incoming, outgoing) => take(incoming, outgoing))

function take(incoming: IncomingMessage, outgoing: ServerResponse): void {
  requests.push(`${incoming.method} ${incoming.url}`)
  answer(incoming, outgoing)
}

client.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'client-'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
client.after(async () => {
  server.close()
  await rm(folder, { recursive: true })
})
client.before.each(() => {
  requests = []
})

function url(): string {
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
}

function ask(...args: string[]): Promise<Ended> {
  return runHere(['backing-image', '--url', url(), ...args])
}

function send(outgoing: ServerResponse, status: number, body: unknown): void {
  outgoing.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function image(name: string, state = 'ready', more: object = {}) {
  return { name, uuid: '0123abcd', state, version: '1', size: 10, processedSize: 5, ...more }
}

client('list reads every page', async () => {
  answer = (incoming, outgoing) => {
    const token = new URL(incoming.url ?? '', 'http://host').searchParams.get('continue')
    const page = Number(token ?? 0)
    const data = [image(`image-${page}`)]
    send(outgoing, 200, { data, continue: page < 2 ? String(page + 1) : null })
  }
  const { stdout } = await ask('list')
  assert.equal(Object.keys(JSON.parse(stdout)), ['image-0', 'image-1', 'image-2'])
  assert.is(requests.length, 3)
})

client('a page that comes again and again ends the list with an error', async () => {
  answer = (_, outgoing) => send(outgoing, 200, { data: [], continue: 'same' })
  const { code, stderr } = await ask('list')
  assert.is(code, 1)
  assert.match(stderr, 'repeats a page')
  assert.is(requests.length, 2)
})

client('an answer that switches protocols is an error, not silence', async () => {
  const headers = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'
  answer = ({ socket }) => void socket.end(headers)
  const { code, stderr } = await ask('list')
  assert.is(code, 1)
  assert.match(stderr, 'broke (closed without an answer)')
})

client('create waits for exactly its ingest, and is 1 when that failed', async () => {
  const states = ['in-progress', 'in-progress', 'failed']
  answer = (incoming, outgoing) => {
    if (incoming.method === 'POST') return send(outgoing, 202, image('made', 'pending'))
    return send(outgoing, 200, image('made', states.shift(), { message: 'the source is gone' }))
  }
  const { code, stderr } = await ask('create', 'made', '--source-type', 'download', '-o', 'json')
  assert.is(code, 1)
  assert.match(stderr, 'made has failed: the source is gone')
  assert.equal(requests, [
    'POST /v1/backing-images',
    ...Array.from({ length: 3 }, () => 'GET /v1/backing-images/made?uuid=0123abcd&wait=60'),
  ])
})

client('create --no-wait asks once, with parameters that may hold commas and "="', async () => {
  let body = ''
  answer = (incoming, outgoing) => {
    incoming.on('data', (chunk: Buffer) => (body += chunk.toString()))
    incoming.on('end', () => send(outgoing, 202, image('made', 'pending')))
  }
  const args = ['--source-type', 'download', '--parameters', 'url=http://host/?a=b,c', '--no-wait']
  const { code, stdout, stderr } = await ask('create', '--name', 'made', ...args)
  assert.is(code, 0, stderr)
  assert.is(JSON.parse(stdout).status.state, 'pending')
  assert.equal(JSON.parse(body), {
    name: 'made',
    sourceType: 'download',
    parameters: { url: 'http://host/?a=b,c' },
  })
  assert.is(requests.length, 1)
})

client(
  'an upload that is refused from its head sends no byte, even when stdin is silent',
  async () => {
    answer = (_, outgoing) => send(outgoing, 409, { detail: 'There is one already.' })
    // This stdin never says anything and never ends.
    const running = start(['backing-image', 'upload', 'disk', '-', '--url', url()], {}, null)
    const { code, stderr } = await running.ended
    assert.is(code, 1)
    assert.is(stderr, 'backing-image-manager: There is one already.\n')
  },
)

client('an upload sends its length, and its bytes only when it may', async () => {
  const path = join(folder, 'disk.img')
  await writeFile(path, 'the bytes')
  let received = ''
  answer = (incoming, outgoing) => {
    assert.is(incoming.headers['content-length'], '9')
    assert.is(incoming.headers.expect, '100-continue')
    setTimeout(() => {
      assert.is(received, '')
      outgoing.writeContinue()
    }, 50)
    incoming.on('data', (chunk: Buffer) => (received += chunk.toString()))
    incoming.on('end', () => send(outgoing, 201, image('disk')))
  }
  const { code, stderr } = await ask('upload', 'disk', path, '-o', 'json')
  assert.is(code, 0, stderr)
  assert.is(received, 'the bytes')
})

client('a connection that breaks in an upload is one line and exit code 1', async () => {
  const path = join(folder, 'large.img')
  await writeFile(path, Buffer.alloc(8 * 1024 * 1024))
  answer = (incoming, outgoing) => {
    outgoing.writeContinue()
    incoming.once('data', () => incoming.destroy())
  }
  const { code, stderr } = await ask('upload', 'disk', path)
  assert.is(code, 1)
  assert.match(stderr, /^backing-image-manager: The connection to \S+ broke .*\n$/)
})

client(
  'a refusal in the middle of an upload is shown, not the connection that it ends',
  async () => {
    const path = join(folder, 'large.img')
    await writeFile(path, Buffer.alloc(8 * 1024 * 1024))
    answer = (incoming, outgoing) => {
      outgoing.writeContinue()
      // As our server does it: the answer leaves, and what still comes is thrown away meanwhile.
      const body = JSON.stringify({ detail: 'The disk is full.' })
      incoming.once('data', () => {
        outgoing.writeHead(507, { 'content-length': body.length }).write(body)
      })
      incoming.on('close', () => outgoing.end())
    }
    const { code, stderr } = await ask('upload', 'disk', path)
    assert.is(code, 1)
    assert.is(stderr, 'backing-image-manager: The disk is full.\n')
  },
)

client('answers that are none of ours are told as such', async () => {
  answer = (_, outgoing) => outgoing.end('<html>')
  assert.match((await ask('list')).stderr, 'not JSON: is it the right URL?')
  answer = (_, outgoing) => outgoing.writeHead(502).end('<html>')
  assert.match((await ask('list')).stderr, 'answered 502')
})

client.run()
