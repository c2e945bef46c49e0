import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { rawImage } from '@backing-image/core/testing'
import { Access } from './access.ts'
import { type Serving, ask, askJson, put, serving } from './testing/serving.ts'

const access = suite('access')

const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`

access('a token comes as Bearer, or as the password of any user', () => {
  const both = new Access({ apiToken: 'sesame', apiReadToken: 'look' })
  for (const [header, grant] of [
    ['Bearer sesame', 'write'],
    ['bearer sesame', 'write'],
    [basic('anyone:sesame'), 'write'],
    [basic(':sesame'), 'write'],
    ['Bearer look', 'read'],
    [basic('qemu:look'), 'read'],
    [basic('sesame'), 'none'],
    [basic('sesame:'), 'none'],
    ['Bearer sesam', 'none'],
    ['Bearer sesame2', 'none'],
    ['Bearer', 'none'],
    ['Bearer ', 'none'],
    ['sesame', 'none'],
    ['Digest sesame', 'none'],
    [undefined, 'none'],
  ] as const) {
    assert.is(both.grantOf(header), grant, String(header))
  }
})

access('a colon may be part of the token', () => {
  const colons = new Access({ apiToken: 'a:b', apiReadToken: undefined })
  assert.is(colons.grantOf(basic('user:a:b')), 'write')
})

access('without tokens everyone may do everything', () => {
  const none = new Access({ apiToken: undefined, apiReadToken: undefined })
  assert.ok(none.isOpen)
  assert.is(none.grantOf(undefined), 'write')
})

async function guarded(work: (server: Serving) => Promise<void>): Promise<void> {
  const server = await serving({
    apiToken: 'sesame',
    apiReadToken: 'look',
    urlSigningKeys: ['new', 'old'],
  })
  try {
    await work(server)
  } finally {
    await server.close()
  }
}

const write = { authorization: 'Bearer sesame' }
const read = { authorization: 'Bearer look' }

access('every route but three wants a token, known or not', () =>
  guarded(async (server) => {
    for (const [method, path] of [
      ['GET', '/v1/backing-images'],
      ['PUT', '/v1/backing-images/ubuntu'],
      ['DELETE', '/v1/backing-images/ubuntu'],
      ['GET', '/v1/backing-images/ubuntu/download'],
      ['GET', '/v1/events'],
      ['GET', '/metrics'],
      ['GET', '/openapi.json'],
      ['GET', '/no/such/path'],
    ] as const) {
      const { status, headers, json } = await askJson(server, method, path)
      assert.is(status, 401, path)
      assert.is(json.code, 'unauthenticated')
      assert.match(headers['www-authenticate'] ?? '', /Basic realm="[^"]+".*Bearer realm=/)
    }
    assert.is((await ask(server, 'GET', '/health')).text, '{"status":"ok"}')
    assert.is((await ask(server, 'GET', '/ready')).text, '{"status":"ok"}')
    const known = await askJson(server, 'GET', '/ready', { headers: read })
    assert.is(known.json.backend, 'memory')
  }),
)

access('the read token reads and never writes', () =>
  guarded(async (server) => {
    await put(server, 'ubuntu', rawImage(), write)
    for (const [method, path] of [
      ['GET', '/v1/backing-images'],
      ['GET', '/v1/backing-images/ubuntu'],
      ['HEAD', '/v1/backing-images/ubuntu/download'],
      ['GET', '/metrics'],
    ] as const) {
      assert.is((await ask(server, method, path, { headers: read })).status, 200, path)
    }
    for (const [method, path] of [
      ['PUT', '/v1/backing-images/debian'],
      ['POST', '/v1/backing-images'],
      ['POST', '/v1/backing-images/ubuntu/rollback'],
      ['DELETE', '/v1/backing-images/ubuntu'],
    ] as const) {
      const { status, json } = await askJson(server, method, path, { headers: read, body: 'x' })
      assert.is(status, 403, path)
      assert.is(json.code, 'forbidden')
    }
    assert.is((await server.store.list()).length, 1)
    assert.is((await server.store.get('ubuntu')).version, '1')
  }),
)

access('a signed file URL needs no token, and no other signature will do', () =>
  guarded(async (server) => {
    const image = await put(server, 'ubuntu', rawImage(), write)
    const { pathname } = new URL(image.links.file ?? '')
    assert.match(pathname, /^\/files\/ubuntu-[0-9a-f]{8}\/[\w-]{43}\/ubuntu-1\.img$/)
    const { status, body, headers } = await ask(server, 'GET', pathname)
    assert.is(status, 200)
    assert.equal(body, rawImage())
    assert.match(headers['cache-control'] ?? '', /immutable/)
    const good = pathname.split('/')
    for (const path of [
      pathname.replace(good[3] ?? '', '-'),
      pathname.replace(good[3] ?? '', `${good[3]}x`),
      pathname.replace('ubuntu-1.img', 'ubuntu-2.img'),
      pathname.replace(/ubuntu-[0-9a-f]{8}/, 'ubuntu-00000000'),
    ]) {
      const refused = await askJson(server, 'GET', path)
      assert.is(refused.status, 403, path)
      assert.is(refused.json.code, 'forbidden')
    }
    await server.store.remove('ubuntu')
    assert.is((await ask(server, 'GET', pathname)).status, 404, 'gone for ever')
  }),
)

access('every signing key verifies, the first signs', async () => {
  const before = await serving({ apiToken: 'sesame', urlSigningKeys: ['old'] })
  const image = await put(before, 'ubuntu', rawImage(), write)
  await before.close()
  const after = await serving(
    { apiToken: 'sesame', urlSigningKeys: ['new', 'old'] },
    before.backend,
  )
  const { pathname } = new URL(image.links.file ?? '')
  assert.is((await ask(after, 'GET', pathname)).status, 200)
  const now = await askJson(after, 'GET', '/v1/backing-images/ubuntu', {
    headers: write,
  })
  assert.is.not(new URL(now.json.links.file ?? '').pathname, pathname)
  await after.close()
})

access('tokens without a signing key: no file URL is given or taken', async () => {
  const server = await serving({ apiToken: 'sesame' })
  const image = await put(server, 'ubuntu', rawImage(), write)
  assert.is(image.links.file, null)
  const path = `/files/ubuntu-${image.uuid}/-/ubuntu-1.img`
  assert.is((await ask(server, 'GET', path)).status, 403)
  await server.close()
})

access('no token ever reaches the log', () =>
  guarded(async (server) => {
    await put(server, 'ubuntu', rawImage(), write)
    await ask(server, 'GET', '/v1/backing-images/nope', { headers: write })
    assert.ok(server.lines.length > 0)
    assert.not.match(JSON.stringify(server.lines), /sesame|look/)
  }),
)

access.run()
