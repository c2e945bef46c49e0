import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { rawImage } from '@backing-image/core/testing'
import { type Serving, ask, askJson, put, serving } from './testing/serving.ts'

const files = suite('files')
const resource = '/v1/backing-images/ubuntu'

let server: Serving
files.before.each(async () => {
  server = await serving()
})
files.after.each(async () => {
  await server.close()
})

files('the URL lives, unchanged, while any version names the bytes, and is then 404', async () => {
  const { links } = await put(server, 'ubuntu?version=1', rawImage())
  const path = new URL(links.file ?? '').pathname
  const first = await ask(server, 'HEAD', path)
  assert.is(first.status, 200)
  assert.is(first.headers['content-disposition'], 'attachment; filename="ubuntu-1.img"')
  // Last-Modified tells whole seconds.
  await delay(1100)
  const back = await askJson(server, 'POST', `${resource}/rollback`, {
    body: Buffer.from('{"version":"1"}'),
    headers: { 'content-type': 'application/json' },
  })
  assert.is(back.status, 201)
  assert.is((await ask(server, 'DELETE', `${resource}?version=1`)).status, 204)
  const later = await ask(server, 'HEAD', path)
  assert.is(later.status, 200)
  for (const name of ['last-modified', 'content-disposition', 'etag', 'cache-control'] as const) {
    assert.is(later.headers[name], first.headers[name], name)
  }
  const since = { 'if-unmodified-since': first.headers['last-modified'] ?? '' }
  assert.is((await ask(server, 'GET', path, { headers: since })).status, 200)
  assert.is((await ask(server, 'DELETE', resource)).status, 204)
  assert.is((await ask(server, 'GET', path)).status, 404)
})

files('the aligned rendition has a URL, a length and digests of its own', async () => {
  const body = Buffer.concat([rawImage(), Buffer.from('more')])
  const { uuid, links } = await put(server, 'ubuntu', body)
  const path = new URL(links.file ?? '').pathname
  const whole = Buffer.concat([body, Buffer.alloc(508)])
  const aligned = `/files/ubuntu-${uuid}/-/ubuntu-1~aligned.img`
  const { status, headers, body: found } = await ask(server, 'GET', aligned)
  assert.is(status, 200)
  assert.ok(found.equals(whole))
  const sha512 = createHash('sha512').update(whole).digest('hex')
  assert.is(headers.etag, `"${sha512}"`)
  assert.is(headers['content-length'], String(whole.length))
  const rest = { range: `bytes=${body.length - 2}-` }
  const part = await ask(server, 'GET', aligned, { headers: rest })
  assert.equal([part.status, part.body.toString('latin1')], [206, `re${'\0'.repeat(508)}`])
  const plain = await ask(server, 'HEAD', path)
  assert.is(plain.headers['content-length'], String(body.length))
})

files('a file name that is not plain or of another image is 400', async () => {
  const { uuid } = await put(server, 'ubuntu', rawImage())
  const get = (name: string) => ask(server, 'GET', `/files/ubuntu-${uuid}/-/${name}`)
  for (const name of [
    'evil.exe',
    'ubuntu',
    'ubuntu-1~other.img',
    'ubuntu-1~aligned',
    'ubuntu-%22.img',
    'ubuntu-%0d%0aX',
    'ubuntu-%C3%A9',
  ]) {
    const { status, headers } = await get(name)
    assert.is(status, 400, name)
    assert.is(headers['content-disposition'], undefined)
  }
  assert.is((await get(`ubuntu-${'x'.repeat(194)}`)).status, 400)
  assert.is((await get(`ubuntu-${'x'.repeat(193)}`)).status, 200)
})

files.run()
