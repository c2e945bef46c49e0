// Images that come from Longhorn, as a client of the server asks for them.

import { randomBytes } from 'node:crypto'
import { LonghornStandIn, readyImage } from '@backing-image/longhorn/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Reply, type Serving, type Viewed, ask, askJson, serving } from './testing/serving.ts'

const sources = suite('images from Longhorn')

const disk = Buffer.concat([Buffer.alloc(4096), randomBytes(500_224)])

function facing(
  claim: (server: Serving, standIn: LonghornStandIn) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const standIn = await LonghornStandIn.start()
    const longhorn = {
      apiUrl: standIn.url,
      authToken: undefined,
      register: 'off',
      cluster: 'test',
    } as const
    const server = await serving({ longhorn, idleTimeoutMs: 60_000 })
    try {
      await claim(server, standIn)
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
