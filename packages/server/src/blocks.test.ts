// The block index over HTTP: pages, the whole, and who may see it.

import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { blockBytes, blocksKey } from '@backing-image/core'
import { rawImage } from '@backing-image/core/testing'
import { type Serving, ask, askJson, form, put, rejection, serving } from './testing/serving.ts'

const blocks = suite('blocks')
const resource = '/v1/backing-images/ubuntu'
const path = `${resource}/blocks`
const binary = { accept: 'application/octet-stream' }

interface Page {
  blockSize: number
  size: number
  count: number
  data: { index: number; sha256: string; zero: boolean }[]
  continue: string | null
}

/** Three blocks and a short one; the second is all zeros, and so is the last. */
function diskOf(seed: number): Buffer {
  const disk = rawImage(3 * blockBytes + 512)
  disk.fill(seed, 512, blockBytes)
  disk.fill(seed, 2 * blockBytes, 3 * blockBytes)
  return disk
}

const disk = diskOf(1)

function expectedOf(body: Buffer): Page['data'] {
  return Array.from({ length: Math.ceil(body.length / blockBytes) }, (_, index) => {
    const block = body.subarray(index * blockBytes, (index + 1) * blockBytes)
    const sha256 = createHash('sha256').update(block).digest('hex')
    return { index, sha256, zero: block.every((byte) => byte === 0) }
  })
}

function binaryOf(body: Buffer): Buffer {
  const entries = expectedOf(body).map(({ sha256, zero }) => `${sha256}${zero ? '01' : '00'}`)
  return Buffer.from(entries.join(''), 'hex')
}

let server: Serving
blocks.before.each(async () => {
  // Nothing here is about silence.
  server = await serving({ idleTimeoutMs: 60_000 })
})
blocks.after.each(async () => {
  await server.close()
})

async function page(query: string = ''): Promise<Page> {
  const { status, text } = await ask(server, 'GET', `${path}${query}`)
  assert.is(status, 200, text)
  return JSON.parse(text) as Page
}

blocks('a page tells of every block its SHA-256 and whether it is all zeros', async () => {
  await put(server, 'ubuntu', disk)
  const found = await page()
  const data = expectedOf(disk)
  assert.equal(
    data.map(({ zero }) => zero),
    [false, true, false, true],
  )
  const size = disk.length
  assert.equal(found, { blockSize: 4_194_304, size, count: 4, data, continue: null })
})

blocks(
  'pages follow each other, all of the same bytes, whatever is published between',
  async () => {
    await put(server, 'ubuntu', disk)
    const first = await page('?limit=3')
    assert.is(first.data.length, 3)
    await put(server, 'ubuntu', diskOf(2))
    const second = await page(`?limit=3&continue=${first.continue}`)
    assert.equal([...first.data, ...second.data], expectedOf(disk))
    assert.is(second.continue, null)
    assert.equal((await page()).data, expectedOf(diskOf(2)))
    assert.equal((await page('?version=1')).data, expectedOf(disk))
    assert.is((await ask(server, 'DELETE', `${resource}?version=1`)).status, 204)
    const { status } = await ask(server, 'GET', `${path}?limit=3&continue=${first.continue}`)
    assert.is(status, 404)
  },
)

blocks('the whole is binary, with length, an ETag of its own, and HEAD', async () => {
  const image = await put(server, 'ubuntu', disk)
  for (const [query, headers] of [
    ['', binary],
    ['?format=binary', {}],
    ['?version=1', binary],
  ] as const) {
    const found = await ask(server, 'GET', `${path}${query}`, { headers })
    assert.is(found.status, 200)
    assert.ok(found.body.equals(binaryOf(disk)))
    assert.is(found.headers['content-length'], String(4 * 33))
    assert.is(found.headers['content-type'], 'application/octet-stream')
    assert.is(found.headers.etag, `"${image.currentChecksum}-blocks"`)
    assert.is(found.headers.vary, 'Accept')
    const isImmutable = found.headers['cache-control']?.includes('immutable')
    assert.is(isImmutable, query === '?version=1')
    const head = await ask(server, 'HEAD', `${path}${query}`, { headers })
    assert.equal([head.status, head.body.length], [200, 0])
    assert.is(head.headers['content-length'], String(4 * 33))
    assert.is(head.headers.etag, found.headers.etag)
  }
  const json = await ask(server, 'GET', `${path}?format=json`, { headers: binary })
  assert.match(json.headers['content-type'] ?? '', 'application/json')
  assert.is(json.headers.vary, 'Accept')
})

blocks('conditions hold for the binary form', async () => {
  await put(server, 'ubuntu', disk)
  const { etag = '' } = (await ask(server, 'HEAD', path, { headers: binary })).headers
  const get = (headers: object) => ask(server, 'GET', path, { headers: { ...binary, ...headers } })
  const known = await get({ 'if-none-match': etag })
  assert.equal([known.status, known.body.length, known.headers.etag], [304, 0, etag])
  assert.is((await get({ 'if-match': etag })).status, 200)
  const other = await get({ 'if-match': `"${etag.slice(1, 129)}"` })
  assert.is(other.status, 412)
  assert.match(other.text, /"code":"precondition_failed"/)
})

blocks('a wrong query is 400', async () => {
  await put(server, 'ubuntu', disk)
  const { continue: token } = await page('?limit=1')
  const behind = Buffer.from(
    Buffer.from(token ?? '', 'base64url')
      .toString()
      .replace(/1$/, '5'),
  )
  for (const query of [
    'limit=0',
    'limit=10001',
    'limit=x',
    'format=xml',
    'uuid=0123abcd',
    'continue=x',
    `continue=${Buffer.from('0123abcd').toString('base64url')}`,
    `continue=${Buffer.from('../x 1').toString('base64url')}`,
    `continue=${behind.toString('base64url')}`,
    'format=binary&limit=5',
    `format=binary&continue=${token}`,
    'version=..',
  ]) {
    const { status, text } = await ask(server, 'GET', `${path}?${query}`)
    assert.is(status, 400, `${query}: ${text}`)
  }
  assert.is((await ask(server, 'GET', `${path}?limit=10000`)).status, 200)
})

blocks('what is not ready, not there or without an index is 404', async () => {
  for (const headers of [{}, binary]) {
    const none = await askJson(server, 'GET', path, { headers })
    assert.equal([none.status, none.json.code], [404, 'not_found'])
  }
  const { body, headers } = form([
    { name: 'name', value: 'ubuntu' },
    { name: 'checksum', value: `sha256:${'0'.repeat(64)}` },
    { name: 'file', filename: 'x', value: rawImage() },
  ])
  assert.is((await ask(server, 'POST', '/v1/backing-images', { body, headers })).status, 422)
  const failed = await askJson(server, 'GET', path)
  assert.equal([failed.status, failed.json.state], [404, 'failed'])

  const { uuid } = await put(server, 'ubuntu', rawImage())
  await server.backend.delete(blocksKey('ubuntu', uuid))
  const without = await askJson(server, 'GET', path, { headers: binary })
  assert.is(without.status, 404)
  assert.match(without.json.detail, /ubuntu 2 has no block index/)
  assert.is((await ask(server, 'GET', `${resource}/download`)).status, 200)
})

blocks(
  'an index that fails on the way is a connection that is cut, never a short success',
  async () => {
    await put(server, 'ubuntu', disk)
    const get = server.backend.get.bind(server.backend)
    async function* broken() {
      yield Buffer.alloc(33)
      throw new Error('the disk broke')
    }
    server.backend.get = async (key, options) =>
      key.endsWith('/blocks') ? broken() : await get(key, options)
    const cut = await rejection(ask(server, 'GET', `${path}?format=binary`))
    assert.instance(cut, Error)
  },
)

blocks('who may not read the image may not read its index', async () => {
  const guarded = await serving({
    apiToken: 'sesame',
    apiReadToken: 'look',
    idleTimeoutMs: 60_000,
  })
  try {
    const token = (word: string) => ({ authorization: `Bearer ${word}` })
    await put(guarded, 'ubuntu', disk, token('sesame'))
    assert.is((await ask(guarded, 'GET', path)).status, 401)
    assert.is((await ask(guarded, 'GET', path, { headers: token('other') })).status, 401)
    assert.is((await ask(guarded, 'GET', path, { headers: token('look') })).status, 200)
    assert.is((await ask(guarded, 'PUT', path, { headers: token('sesame') })).status, 405)
  } finally {
    await guarded.close()
  }
})

blocks.run()
