// StorageClasses that are posted: what they name is there, is made, or is refused with all that is wrong.

import { createHash } from 'node:crypto'
import { Web, rawImage } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { stringify } from 'yaml'
import { type Serving, type Viewed, ask, askJson, put, serving } from './testing/serving.ts'

const classes = suite('StorageClasses')
const publicUrl = 'https://images.example.org'
const disk: Buffer = rawImage()
const sha512 = createHash('sha512').update(disk).digest('hex')

function on(claim: (server: Serving, web: Web) => Promise<void>): () => Promise<void> {
  return async () => {
    const web = await Web.start()
    const server = await serving({ publicUrl })
    try {
      await claim(server, web)
    } finally {
      await server.close()
      await web.stop()
    }
  }
}

function classOf(parameters: Record<string, string>, provisioner = 'driver.longhorn.io'): string {
  return stringify({
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'golden' },
    provisioner,
    parameters: { numberOfReplicas: '3', backingImage: 'golden', ...parameters },
  })
}

function download(url: string): Record<string, string> {
  return {
    backingImageDataSourceType: 'download',
    backingImageDataSourceParameters: JSON.stringify({ url }),
  }
}

async function post(server: Serving, body: string, headers = {}) {
  return await askJson(server, 'POST', '/v1/backing-images', {
    body,
    headers: { 'content-type': 'application/yaml', ...headers },
  })
}

async function ended(server: Serving, location = ''): Promise<Viewed> {
  const { pathname, search } = new URL(location)
  const path = new URL(pathname + search, `http://127.0.0.1:${server.port}`)
  for (;;) {
    const { json } = await askJson(server, 'GET', `${path.pathname}${path.search}&wait=60`)
    if (json.state === 'ready' || json.state === 'failed') return json
  }
}

classes(
  'a missing image is made as the class says, and then it is there',
  on(async (server, web) => {
    const url = web.serve('/disk.img', disk).href
    const text = classOf({
      ...download(url),
      backingImageChecksum: sha512,
      backingImageMinNumberOfCopies: '2',
      backingImageNodeSelector: 'a,b',
      backingImageDiskSelector: 'ssd',
      dataEngine: 'v2',
    })
    const { status, headers } = await post(server, text)
    assert.is(status, 202)
    const image = await ended(server, headers.location)
    assert.equal([image.state, image.name], ['ready', 'golden'], image.message)
    assert.equal([image.dataEngine, image.minNumberOfCopies], ['v2', 2])
    assert.equal([image.nodeSelector, image.diskSelector], [['a', 'b'], ['ssd']])
    assert.is(image.expectedChecksum, sha512)
    const again = await post(server, text)
    assert.equal([again.status, again.json.uuid], [200, image.uuid])
    assert.is((await post(server, text, { 'if-none-match': '*' })).status, 412)
    assert.is(web.seen('/disk.img').length, 1)
  }),
)

classes(
  'the engine is v1 where the class says nothing',
  on(async (server, web) => {
    const { json } = await post(server, classOf(download(web.serve('/disk.img', disk).href)))
    assert.is(json.dataEngine, 'v1')
  }),
)

classes(
  'a class of the own manifest, and one that says little, is the image that is there',
  on(async (server) => {
    const { uuid } = await put(server, 'golden', disk)
    const manifest = await ask(
      server,
      'GET',
      '/v1/backing-images/golden/manifest?kind=StorageClass',
    )
    for (const text of [manifest.text, classOf({})]) {
      const { status, json } = await post(server, text)
      assert.equal([status, json.uuid], [200, uuid], json.detail)
    }
  }),
)

classes(
  'every disagreement with an image that is there is named, and nothing is made',
  on(async (server) => {
    await put(server, 'golden', disk)
    const text = classOf({
      ...download('https://example.org/other.img'),
      backingImageChecksum: '0'.repeat(128),
      dataEngine: 'v2',
    })
    const { status, json } = await post(server, text)
    assert.equal([status, json.code], [409, 'already_exists'])
    for (const field of ['DataSourceParameters', 'Checksum']) {
      assert.match(json.detail, `parameters.backingImage${field}`)
    }
    assert.match(json.detail, 'parameters.dataEngine')
    const versions = await askJson(server, 'GET', '/v1/backing-images/golden/versions')
    assert.is(versions.json.data.length, 1)
  }),
)

classes(
  'one that is on its way is that image, or another',
  on(async (server, web) => {
    const url = web.serve('/disk.img', disk, { fault: () => ({ stallAfterBytes: 1000 }) }).href
    const first = await post(server, classOf(download(url)))
    const again = await post(server, classOf(download(url)))
    assert.equal([again.status, again.json.uuid], [200, first.json.uuid])
    const other = await post(server, classOf(download('https://example.org/other.img')))
    assert.is(other.status, 409)
    await ask(server, 'DELETE', '/v1/backing-images/golden')
  }),
)

const wrong: [string, string, RegExp][] = [
  ['without a source', classOf({}), /DataSourceType.*download or export-from-volume/],
  [
    'of an upload',
    classOf({ backingImageDataSourceType: 'upload' }),
    /There is no image golden yet/,
  ],
  [
    'of another provisioner, with a wrong checksum',
    classOf({ ...download('http://example.org/x'), backingImageChecksum: 'x' }, 'other'),
    /provisioner: .*backingImageChecksum: /,
  ],
  [
    'of an export without an API of Longhorn',
    classOf({
      backingImageDataSourceType: 'export-from-volume',
      backingImageDataSourceParameters: '{"volume-name":"data","export-type":"raw"}',
    }),
    /LONGHORN_API_URL/,
  ],
  ['of a name that is none here', classOf({ ...download('http://x'), backingImage: 'A' }), /name/],
  [
    'of a place that is not allowed',
    classOf(download('http://169.254.169.254/')),
    /DOWNLOAD_ALLOW/,
  ],
]
for (const [what, text, words] of wrong) {
  classes(
    `a class ${what} is refused`,
    on(async (server) => {
      const { status, json } = await post(server, text)
      assert.equal([status, json.code], [400, 'invalid_request'])
      assert.match(json.detail, words)
      assert.equal(await server.keys(), [])
    }),
  )
}

classes.run()
