// How a download goes on, and what it never takes for an image: against a server that misbehaves.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { runHere } from '../testing/processes.ts'

const download = suite('cli download')
const bytes = randomBytes(200_000)
const half = 100_000
let folder: string
let requests: IncomingMessage[] = []
let answer: (incoming: IncomingMessage, outgoing: ServerResponse) => void = () => {}
const server = createServer((incoming, outgoing) => {
  requests.push(incoming)
  answer(incoming, outgoing)
})

download.before(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
download.after(() => {
  server.close()
})
download.before.each(async () => {
  requests = []
  folder = await mkdtemp(join(tmpdir(), 'download-'))
})
download.after.each(() => rm(folder, { recursive: true }))

function headersOf(content: Buffer) {
  const digest = createHash('sha512').update(content)
  return {
    etag: `"${digest.copy().digest('hex')}"`,
    'repr-digest': `sha-512=:${digest.digest('base64')}:`,
    'content-disposition': 'attachment; filename="disk-1.img"',
  }
}

/** A server that keeps the rules, for `content`. */
function honest(content: Buffer): typeof answer {
  return (incoming, outgoing) => {
    const headers = headersOf(content)
    const { 'if-match': ifMatch, range } = incoming.headers
    if (ifMatch !== undefined && ifMatch !== headers.etag) {
      outgoing.writeHead(412).end()
      return
    }
    const start = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0)
    const part = content.subarray(start)
    const partial = {
      ...headers,
      'content-length': part.length,
      'content-range': `bytes ${start}-${content.length - 1}/${content.length}`,
    }
    outgoing.writeHead(range === undefined ? 200 : 206, partial).end(part)
  }
}

/** Promises all, sends half, and cuts. */
const cut: typeof answer = (_, outgoing) => {
  outgoing.writeHead(200, { ...headersOf(bytes), 'content-length': bytes.length })
  outgoing.write(bytes.subarray(0, half), () => setTimeout(() => outgoing.destroy(), 50))
}

function fetchImage(output = join(folder, 'disk.img')) {
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  const url = `http://127.0.0.1:${port}`
  return runHere(['backing-image', '--url', url, 'download', 'disk', '-o', output])
}

async function partOf(): Promise<string> {
  const names = await readdir(folder)
  assert.is(names.length, 1)
  assert.match(names[0] ?? '', /^disk\.img\.[0-9a-f]{16}\.part$/)
  return join(folder, names[0] ?? '')
}

download('a download that broke goes on where it stopped', async () => {
  answer = cut
  const first = await fetchImage()
  assert.is(first.code, 1)
  assert.match(first.stderr, 'give the same command again')
  assert.ok(bytes.subarray(0, half).equals(await readFile(await partOf())))
  answer = honest(bytes)
  const second = await fetchImage()
  assert.is(second.code, 0, second.stderr)
  assert.ok(bytes.equals(await readFile(join(folder, 'disk.img'))))
  assert.equal(await readdir(folder), ['disk.img'])
  const last = requests.at(-1)?.headers
  assert.is(last?.range, `bytes=${half}-`)
  assert.is(last?.['if-match'], headersOf(bytes).etag)
})

download('bytes of another image are never joined to a part', async () => {
  answer = cut
  await fetchImage()
  const other = randomBytes(150_000)
  answer = honest(other)
  assert.is((await fetchImage()).code, 0)
  assert.ok(other.equals(await readFile(join(folder, 'disk.img'))))
})

download('an image that changes between two requests is not mixed', async () => {
  answer = cut
  await fetchImage()
  const part = await partOf()
  answer = (incoming, outgoing) => {
    const content = incoming.headers.range === undefined ? bytes : randomBytes(200_000)
    honest(content)(incoming, outgoing)
  }
  const { code } = await fetchImage()
  assert.is(code, 1)
  assert.is(await partOf(), part)
  assert.ok(bytes.subarray(0, half).equals(await readFile(part)))
})

download('a server that ignores the range changes nothing', async () => {
  answer = cut
  await fetchImage()
  answer = (_, outgoing) => {
    outgoing.writeHead(200, { ...headersOf(bytes), 'content-length': bytes.length }).end(bytes)
  }
  assert.is((await fetchImage()).code, 1)
  assert.ok(bytes.subarray(0, half).equals(await readFile(await partOf())))
})

download('a whole part is checked and needs no more bytes', async () => {
  answer = cut
  await fetchImage()
  await writeFile(await partOf(), bytes)
  answer = honest(bytes)
  assert.is((await fetchImage()).code, 0)
  assert.ok(requests.every((each) => each.headers.range === undefined))
  assert.equal(await readdir(folder), ['disk.img'])
})

download('a part that is longer than the image is begun anew', async () => {
  answer = cut
  await fetchImage()
  await truncate(await partOf(), bytes.length + 1)
  answer = honest(bytes)
  assert.is((await fetchImage()).code, 0)
  assert.ok(bytes.equals(await readFile(join(folder, 'disk.img'))))
})

download('wrong bytes are deleted, and what was there before stays', async () => {
  await writeFile(join(folder, 'disk.img'), 'older')
  const wrong = Buffer.from(bytes)
  wrong[150_000] = (wrong[150_000] ?? 0) ^ 1
  answer = (_, outgoing) => {
    outgoing.writeHead(200, { ...headersOf(bytes), 'content-length': bytes.length }).end(wrong)
  }
  const { code, stderr } = await fetchImage()
  assert.is(code, 1)
  assert.match(stderr, 'expected was')
  assert.equal(await readdir(folder), ['disk.img'])
  assert.is(await readFile(join(folder, 'disk.img'), 'utf8'), 'older')
  assert.is((await fetchImage('-')).code, 1)
})

download('a name that the server gives never leads out of the folder', async () => {
  answer = (_, outgoing) => {
    const headers = { ...headersOf(bytes), 'content-length': bytes.length }
    headers['content-disposition'] = 'attachment; filename="../../evil"'
    outgoing.writeHead(200, headers).end(bytes)
  }
  assert.is((await fetchImage(folder)).stdout.trim(), join(folder, 'image.img'))
})

download('a folder that is missing is told, and nothing is said to be kept', async () => {
  answer = honest(bytes)
  const { code, stderr } = await fetchImage(join(folder, 'absent', 'disk.img'))
  assert.is(code, 1)
  assert.match(stderr, 'ENOENT')
  assert.match(stderr, 'Nothing was kept')
  assert.not.match(stderr, 'is kept in')
})

download('a link in the place of the part is not followed', async () => {
  answer = cut
  await fetchImage()
  const part = await partOf()
  const victim = join(folder, 'victim')
  await writeFile(victim, '')
  await rm(part)
  await symlink(victim, part)
  answer = honest(bytes)
  const { code, stderr } = await fetchImage()
  assert.is(code, 1)
  assert.match(stderr, 'ELOOP')
  assert.is(await readFile(victim, 'utf8'), '', 'nothing was written through the link')
  assert.not.ok((await readdir(folder)).includes('disk.img'))
})

download('an answer without digest is not taken for an image', async () => {
  answer = (_, outgoing) => outgoing.end('<html>')
  const { code, stderr } = await fetchImage()
  assert.is(code, 1)
  assert.match(stderr, 'is it a server of ours?')
  assert.equal(await readdir(folder), [])
})

download.run()
