// Images that come from Longhorn, as a client of the server asks for them.

import { createHash, randomBytes } from 'node:crypto'
import { MemoryBackend, Web } from '@backing-image/core/testing'
import { LonghornStandIn, readyImage } from '@backing-image/longhorn/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Config } from './config.ts'
import { type Reply, type Serving, type Viewed, ask, askJson } from './testing/serving.ts'
import { eventually, serving } from './testing/serving.ts'

const sources = suite('images from Longhorn')

const disk = Buffer.concat([Buffer.alloc(4096), randomBytes(500_224)])

function facing(
  claim: (server: Serving, standIn: LonghornStandIn, config: Partial<Config>) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const standIn = await LonghornStandIn.start()
    const longhorn = {
      apiUrl: standIn.url,
      authToken: undefined,
      register: 'off',
      cluster: 'test',
    } as const
    const config = { longhorn, idleTimeoutMs: 60_000 }
    const server = await serving(config)
    try {
      await claim(server, standIn, config)
    } finally {
      await server.close()
      await standIn.stop()
    }
  }
}

async function post(
  server: Serving,
  body: object | string,
): Promise<{ status: number; json: Reply; location: string }> {
  const isText = typeof body === 'string'
  const { status, json, headers } = await askJson(server, 'POST', '/v1/backing-images', {
    body: isText ? body : JSON.stringify(body),
    headers: { 'content-type': isText ? 'application/yaml' : 'application/json' },
  })
  return { status, json, location: headers.location ?? '' }
}

/** The image of a job once it is ready or has failed. */
async function ended(server: Serving, location: string): Promise<Viewed> {
  const { pathname, search } = new URL(location)
  for (;;) {
    const { json } = await askJson(server, 'GET', `${pathname}${search}&wait=60`)
    if (json.state === 'ready' || json.state === 'failed') return json
  }
}

sources(
  'a document imports an image, and so does a manifest',
  facing(async (server, standIn) => {
    standIn.images.set('jammy', readyImage('jammy', disk))
    const document = {
      name: 'ubuntu',
      sourceType: 'longhorn',
      parameters: { 'backing-image': 'jammy' },
    }
    const manifest = `apiVersion: longhorn.io/v1beta2
kind: BackingImage
metadata:
  name: debian
  namespace: longhorn-system
spec:
  sourceType: longhorn
  sourceParameters:
    backing-image: jammy
`
    for (const body of [document, manifest]) {
      const { status, location } = await post(server, body)
      assert.is(status, 202)
      const image = await ended(server, location)
      assert.equal([image.state, image.sourceType], ['ready', 'longhorn'], image.message)
      const { body: bytes } = await ask(server, 'GET', `/v1/backing-images/${image.name}/download`)
      assert.ok(bytes.equals(disk))
    }
  }),
)

const guide = (spec: string): string => `apiVersion: longhorn.io/v1beta2
kind: BackingImage
metadata:
  name: bi-example
  namespace: longhorn-system
spec:
${spec}`

sources(
  'a manifest of an export works as it stands, and leaves nothing in Longhorn',
  facing(async (server, standIn) => {
    standIn.volumes.set('test', disk)
    const manifest = guide(`  sourceType: export-from-volume
  sourceParameters:
    volume-name: test
    export-type: raw
  minNumberOfCopies: 2
  nodeSelector:
    - "node1"
  diskSelector:
    - "disk1"
`)
    const { status, location } = await post(server, manifest)
    assert.is(status, 202)
    const image = await ended(server, location)
    assert.is(image.state, 'ready', image.message)
    const { sourceType, parameters, minNumberOfCopies, nodeSelector, diskSelector } = image
    assert.equal([sourceType, minNumberOfCopies], ['export-from-volume', 2])
    assert.equal([nodeSelector, diskSelector], [['node1'], ['disk1']])
    assert.equal(parameters, { 'volume-name': 'test', 'export-type': 'raw' })
    const { body } = await ask(server, 'GET', '/v1/backing-images/bi-example/download')
    assert.ok(body.equals(disk))
    await eventually(() => standIn.images.size === 0)
    assert.is(standIn.count('POST', /./), 1)
  }),
)

sources(
  'a manifest of a download works as it stands',
  facing(async (server) => {
    const web = await Web.start()
    const url = web.serve('/parrot.raw', disk).href
    const manifest = guide(`  sourceType: download
  sourceParameters:
    url: ${url}
  checksum: ${createHash('sha512').update(disk).digest('hex')}
  nodeSelector:
    - "node1"
  diskSelector:
    - "disk1"
`)
    const { status, location } = await post(server, manifest)
    assert.is(status, 202)
    const image = await ended(server, location)
    assert.is(image.state, 'ready', image.message)
    await web.stop()
  }),
)

sources(
  'a delete of what Longhorn is still exporting removes that, too',
  facing(async (server, standIn) => {
    standIn.volumes.set('test', disk)
    standIn.exporting = async () => await new Promise(() => {})
    const parameters = { 'volume-name': 'test' }
    const document = { name: 'golden', sourceType: 'export-from-volume', parameters }
    assert.is((await post(server, document)).status, 202)
    await eventually(() => standIn.images.size === 1)
    assert.is((await ask(server, 'DELETE', '/v1/backing-images/golden')).status, 204)
    await eventually(() => standIn.images.size === 0)
  }),
)

sources(
  'a server that is started anew goes on with the export that was begun',
  facing(async (server, standIn, config) => {
    standIn.volumes.set('test', disk)
    let finish = (): void => {}
    const finished = new Promise<undefined>((resolve) => (finish = () => resolve(undefined)))
    standIn.exporting = async () => await finished
    const parameters = { 'volume-name': 'test' }
    const document = { name: 'golden', sourceType: 'export-from-volume', parameters }
    const { location } = await post(server, document)
    await eventually(() => standIn.images.size === 1)
    await server.close()
    const next = await serving(config, new MemoryBackend({ shared: server.backend.store }))
    finish()
    const image = await ended(next, location)
    assert.is(image.state, 'ready', image.message)
    await eventually(() => standIn.images.size === 0)
    assert.is(standIn.count('POST', /./), 1)
    await next.close()
  }),
)

sources(
  'a refusal of Longhorn is told in its words, in the image and in the log',
  facing(async (server) => {
    const parameters = { 'volume-name': 'none' }
    const document = { name: 'golden', sourceType: 'export-from-volume', parameters }
    const image = await ended(server, (await post(server, document)).location)
    assert.is(image.state, 'failed')
    assert.match(image.message, 'volumes.longhorn.io "none" not found')
    const line = server.lines.find(({ msg }) => msg === 'job failed')
    assert.match(String(line?.['message']), 'volumes.longhorn.io "none" not found')
  }),
)

sources('without LONGHORN_API_URL the variable is named', async () => {
  const server = await serving()
  for (const sourceType of ['longhorn', 'export-from-volume']) {
    const { status, json } = await post(server, { name: 'ubuntu', sourceType })
    assert.is(status, 400)
    assert.match(json.detail, 'LONGHORN_API_URL')
  }
  await server.close()
})

sources.run()
