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

files('a file name that is not plain or of another image is 400', async () => {
  const { uuid } = await put(server, 'ubuntu', rawImage())
  const get = (name: string) => ask(server, 'GET', `/files/ubuntu-${uuid}/-/${name}`)
  for (const name of ['evil.exe', 'ubuntu', 'ubuntu-%22.img', 'ubuntu-%0d%0aX', 'ubuntu-%C3%A9']) {
    const { status, headers } = await get(name)
    assert.is(status, 400, name)
    assert.is(headers['content-disposition'], undefined)
  }
  assert.is((await get(`ubuntu-${'x'.repeat(194)}`)).status, 400)
  assert.is((await get(`ubuntu-${'x'.repeat(193)}`)).status, 200)
})

files.run()
