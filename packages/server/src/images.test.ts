import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { rawImage } from '@backing-image/core/testing'
import { type Reply, type Serving, ask, askJson, put, serving } from './testing/serving.ts'

const images = suite('images')

let server: Serving
images.before.each(async () => {
  server = await serving()
})
images.after.each(async () => {
  await server.close()
})

const get = (path: string) => askJson(server, 'GET', `/v1/backing-images${path}`)
const names = (page: Reply) => page.data.map(({ name }) => name)

images('health is exactly {"status":"ok"} and asks the storage nothing', async () => {
  server.backend.before = () => {
    throw new Error('touched')
  }
  const { status, text } = await ask(server, 'GET', '/health')
  server.backend.before = undefined
  assert.is(status, 200)
  assert.is(text, '{"status":"ok"}')
})

images('the list is in name order, filtered and paged', async () => {
  for (const [name, query] of [
    ['cc', 'label=os=linux&label=arch=arm64'],
    ['aa', 'label=os=linux&dataEngine=v2'],
    ['bb', 'label=os=bsd'],
  ]) {
    await put(server, `${name}?${query}`, rawImage(4096))
  }
  const all = await get('')
  assert.equal(names(all.json), ['aa', 'bb', 'cc'])
  assert.is(all.json.continue, null)
  for (const [query, expected] of [
    ['name=bb', ['bb']],
    ['name=zz', []],
    ['state=ready', ['aa', 'bb', 'cc']],
    ['state=failed', []],
    ['label=os%3Dlinux', ['aa', 'cc']],
    ['label=os=linux&label=arch=arm64', ['cc']],
    ['sourceType=upload', ['aa', 'bb', 'cc']],
    ['sourceType=download', []],
    ['dataEngine=v2', ['aa']],
  ] as const) {
    assert.equal(names((await get(`?${query}`)).json), expected, query)
  }
  const first = (await get('?limit=2')).json
  assert.equal(names(first), ['aa', 'bb'])
  const second = (await get(`?limit=2&continue=${first.continue}`)).json
  assert.equal(names(second), ['cc'])
  assert.is(second.continue, null)
  const exact = (await get('?limit=3')).json
  assert.is(exact.continue, null, 'no page that would be empty')
})

images('a query that means nothing is 400 and names itself', async () => {
  await put(server, 'ubuntu', rawImage(4096))
  for (const [method, path, expected] of [
    ['GET', '?limit=0', /limit is "0"/],
    ['GET', '?limit=1001', /limit/],
    ['GET', '?limit=ten', /limit/],
    ['GET', '?limit=1&limit=2', /limit is given 2 times/],
    ['GET', '?state=happy', /state is "happy"/],
    ['GET', '?name=UP', /no image name/],
    ['GET', '?label=x', /key=value/],
    ['GET', '?sourceType=x', /sourceType/],
    ['GET', '?dataEngine=v3', /dataEngine/],
    ['GET', '?continue=%00', /continue/],
    ['GET', '?sort=age', /"sort" is no query parameter here: it knows name, state/],
    ['GET', '/ubuntu?versoin=1', /"versoin"/],
    ['GET', '/ubuntu?version=..', /no version/],
    ['GET', '/ubuntu?uuid=xyz', /no uuid/],
    ['GET', '/ubuntu?state=failed', /state/],
    ['GET', '/ubuntu?wait=-1', /wait/],
    ['GET', '/ubuntu?wait=99999', /wait/],
    ['GET', '/ubuntu/versions?continue=eA', /continue/],
    ['GET', '/ubuntu/download?uuid=12345678', /"uuid"/],
    ['DELETE', '/ubuntu?versoin=1', /"versoin"/],
    ['DELETE', '/ubuntu?version=', /version is empty/],
    ['PUT', '/ubuntu?versoin=1', /"versoin"/],
    ['PUT', '/ubuntu?minNumberOfCopies=many', /minNumberOfCopies/],
    ['PUT', '/ubuntu?size=-1', /size/],
    ['PUT', '/ubuntu?size=7', /size is 7, but the body has 1 bytes/],
    ['PUT', '/ubuntu?checksum=zz', /sha512/],
    ['PUT', '/ubuntu?label=a=b&label=a=c', /label a is given twice/],
    ['POST', '/ubuntu/rollback?version=1', /it takes none/],
  ] as const) {
    const { status, json } = await askJson(
      server,
      method,
      `/v1/backing-images${path}`,
      method === 'PUT' || method === 'POST' ? { body: 'x' } : {},
    )
    assert.is(status, 400, path)
    assert.is(json.code, 'invalid_request')
    assert.match(json.detail, expected)
  }
  assert.is((await server.store.versions('ubuntu')).length, 1, 'the image is as it was')
})

images('get selects by version, uuid and state', async () => {
  const one = await put(server, 'ubuntu', rawImage(4096))
  const two = await put(server, 'ubuntu?version=edge', rawImage(8192))
  assert.is((await get('/ubuntu')).json.uuid, two.uuid)
  assert.is((await get('/ubuntu?version=1')).json.uuid, one.uuid)
  assert.is((await get(`/ubuntu?uuid=${one.uuid}`)).json.version, '1')
  assert.is((await get('/ubuntu?state=ready')).status, 200)
  assert.is((await get('/ubuntu?version=9')).status, 404)
  assert.is((await get('/ubuntu?uuid=00000000')).status, 404)
  assert.is((await get('/ubuntu?wait=5')).json.state, 'ready')
})

images('wait answers when the time is over, or the image is ready', async () => {
  server.backend.before = async (verb, key) => {
    if (verb === 'put' && key.endsWith('/backing')) {
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
  }
  const uploading = put(server, 'ubuntu', rawImage(4096))
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.is((await get('/ubuntu?state=ready')).status, 404)
  assert.is((await get('/ubuntu?wait=0')).json.state, 'in-progress')
  assert.is((await get('/ubuntu?wait=60')).json.state, 'ready')
  await uploading
})

images('versions are paged from the newest on, stable while newer ones come', async () => {
  for (let count = 0; count < 3; count++) await put(server, 'ubuntu', rawImage(4096 + count * 512))
  const first = (await get('/ubuntu/versions?limit=2')).json
  assert.equal(
    first.data.map(({ version }) => version),
    ['3', '2'],
  )
  await put(server, 'ubuntu', rawImage(65_536))
  const second = (await get(`/ubuntu/versions?limit=2&continue=${first.continue}`)).json
  assert.equal(
    second.data.map(({ version }) => version),
    ['1'],
  )
  assert.is(second.continue, null)
  assert.is((await get('/nope/versions')).status, 404)
})

images('rollback publishes a new version of the older bytes, and says where it is', async () => {
  const one = await put(server, 'ubuntu', rawImage(4096))
  await put(server, 'ubuntu', rawImage(8192))
  const path = '/v1/backing-images/ubuntu/rollback'
  const { status, json, headers } = await askJson(server, 'POST', path, {
    body: '{"version":"1"}',
  })
  assert.is(status, 201)
  assert.is(json.version, '3')
  assert.is(json.rollbackOf, '1')
  assert.is(json.currentChecksum, one.currentChecksum)
  assert.is(headers.location, `${server.url}/v1/backing-images/ubuntu?uuid=${one.uuid}&version=3`)
  assert.is(json.links.self, headers.location)
  const self = new URL(json.links.self)
  assert.is((await askJson(server, 'GET', self.pathname + self.search)).json.version, '3')
  assert.is((await ask(server, 'GET', '/v1/backing-images/ubuntu/download')).body.length, 4096)
  for (const [body, status2] of [
    ['{"version":"9"}', 404],
    ['{"version":"../1"}', 400],
    ['{"version":1}', 400],
    ['{"version":"1","force":true}', 400],
    ['[]', 400],
    ['{', 400],
    ['', 400],
  ] as const) {
    assert.is((await ask(server, 'POST', path, { body })).status, status2, body)
  }
})

images('delete takes one version or all, and 404 what is not there', async () => {
  await put(server, 'ubuntu', rawImage(4096))
  const two = await put(server, 'ubuntu', rawImage(8192))
  const remove = (query = '') => ask(server, 'DELETE', `/v1/backing-images/ubuntu${query}`)
  const gone = await remove('?version=2')
  assert.is(gone.status, 204)
  assert.is(gone.body.length, 0)
  const { pathname } = new URL(two.links.file ?? '')
  assert.is((await ask(server, 'GET', pathname)).status, 404)
  assert.is((await get('/ubuntu')).json.version, '1')
  assert.is((await remove('?version=2')).status, 404)
  assert.is((await remove()).status, 204)
  assert.is((await remove()).status, 404)
  assert.is((await get('/ubuntu')).status, 404)
})

images(
  'a known path with another method is 405 with what is allowed, an unknown one 404',
  async () => {
    for (const [method, path, allow] of [
      ['PATCH', '/v1/backing-images', 'GET, HEAD, POST'],
      ['PATCH', '/v1/backing-images/ubuntu', 'PUT, GET, HEAD, DELETE'],
      ['PUT', '/v1/backing-images/ubuntu/download', 'GET, HEAD'],
      ['POST', '/health', 'GET, HEAD'],
      ['DELETE', '/files/a/b/c', 'GET, HEAD'],
    ] as const) {
      const { status, headers, json } = await askJson(server, method, path)
      assert.is(status, 405, path)
      assert.is(json.code, 'method_not_allowed')
      assert.equal(new Set((headers.allow ?? '').split(', ')), new Set(allow.split(', ')))
    }
    for (const path of ['/', '/v1', '/v1/backing-images/ubuntu/nothing', '/v1/backing-images/']) {
      const { status, json, headers } = await askJson(server, 'GET', path)
      assert.is(status, 404, path)
      assert.is(json.code, 'not_found')
      assert.is(headers['content-type'], 'application/problem+json')
    }
  },
)

images('a fault of the server is 500 without its inside, and the log has it', async () => {
  server.backend.before = () => {
    throw new TypeError('secret inside')
  }
  const { status, json, headers } = await askJson(server, 'GET', '/v1/backing-images/ubuntu')
  server.backend.before = undefined
  assert.is(status, 500)
  assert.is(json.code, 'internal')
  assert.not.match(JSON.stringify(json), /secret/)
  assert.ok(json.detail.includes(String(headers['x-request-id'])))
  assert.match(JSON.stringify(server.lines), /secret inside/)
})

images.run()
