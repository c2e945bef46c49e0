// What consumers are told of images: preflights, manifests that can be applied, StorageClasses that are
// right or wrong.

import { createHash } from 'node:crypto'
import { rawImage } from '@backing-image/core/testing'
import { type Preflight, manifestKinds } from '@backing-image/longhorn'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { parse } from 'yaml'
import { type Serving, ask, askJson, put, serving } from './testing/serving.ts'

const consumers = suite('consumers')
const base = '/v1/backing-images/my_image'
const publicUrl = 'https://images.example.org'
const odd = Buffer.concat([rawImage(), Buffer.from('odd')])

/** Runs a claim on a server that others reach. */
function reached(
  claim: (server: Serving) => Promise<void>,
  config: Parameters<typeof serving>[0] = {},
): () => Promise<void> {
  return async () => {
    const server = await serving({ publicUrl, ...config })
    try {
      await claim(server)
    } finally {
      await server.close()
    }
  }
}

interface Look extends Preflight {
  url: string | null
  sha512: string
}

async function preflightOf(server: Serving, headers: Record<string, string> = {}): Promise<Look[]> {
  const { text } = await ask(server, 'GET', `${base}/preflight`, { headers })
  return (JSON.parse(text) as { data: Look[] }).data
}

function sha512Of(body: Buffer): string {
  return createHash('sha512').update(body).digest('hex')
}

consumers(
  'each gets a rendition that it takes, and the bytes are as they were told',
  reached(async (server) => {
    await put(server, 'my_image', odd)
    const looks = await preflightOf(server)
    assert.equal(
      looks.map(({ consumer, fits, rendition }) => [consumer, fits, rendition]),
      [
        ['longhorn-v1', true, 'aligned'],
        ['longhorn-v2', false, 'stored'],
        ['cdi', true, 'stored'],
        ['qemu', true, 'stored'],
      ],
    )
    for (const { url, sha512 } of looks) {
      assert.ok(url?.startsWith(`${publicUrl}/files/`))
      const { body } = await ask(server, 'GET', new URL(url ?? '').pathname)
      assert.is(sha512Of(body), sha512)
    }
  }),
)

for (const kind of manifestKinds) {
  consumers(
    `a ${kind} is YAML of that kind, for Longhorn's rendition and name`,
    reached(async (server) => {
      await put(server, 'my_image', odd)
      const path = `${base}/manifest?kind=${kind}&namespace=there`
      const { status, headers, text } = await ask(server, 'GET', path)
      assert.equal([status, headers['content-type']], [200, 'application/yaml'])
      const manifest = parse(text) as { kind: string; metadata: { name: string } }
      assert.is(manifest.kind, kind)
      assert.match(manifest.metadata.name, /my-image-[0-9a-f]{8}/)
      const [, url] = /(https:[^"'\s}\\]+)/.exec(text) ?? []
      if (url === undefined) return
      assert.is(url.includes('~aligned'), kind !== 'DataVolume')
      assert.is((await ask(server, 'HEAD', new URL(url).pathname)).status, 200)
    }),
  )
}

consumers(
  'the StorageClass of an image is valid, and a changed one is not',
  reached(async (server) => {
    await put(server, 'my_image', odd)
    const { text } = await ask(server, 'GET', `${base}/manifest?kind=StorageClass`)
    const check = async (body: string, type = 'application/yaml') =>
      await askJson(server, 'POST', '/v1/storage-classes/validate', {
        body: Buffer.from(body),
        headers: { 'content-type': type },
      })
    const right = await check(text)
    assert.equal([right.status, right.json], [200, { valid: true, problems: [] }])
    const changed = text.replace(
      /backingImageChecksum: .*/,
      `backingImageChecksum: ${'0'.repeat(128)}`,
    )
    const wrong = await check(changed)
    const { valid, problems } = wrong.json as unknown as {
      valid: boolean
      problems: { field: string }[]
    }
    assert.is(valid, false)
    assert.equal(
      problems.map(({ field }) => field),
      ['parameters.backingImageChecksum'],
    )
    assert.is((await check(text, 'text/plain')).status, 415)
    assert.is((await check('a: *b')).status, 400)
  }),
)

consumers(
  'a rollback goes by the name of the version that it points at, and by no other',
  reached(async (server) => {
    const debian = '/v1/backing-images/debian'
    await put(server, 'debian', odd)
    await put(server, 'debian', rawImage())
    await ask(server, 'POST', `${debian}/rollback`, { body: '{"version":"1"}' })
    assert.match((await ask(server, 'GET', `${debian}/manifest?version=3`)).text, /name: debian\n/)
    const isValid = async (backingImage: string): Promise<boolean> => {
      const { text } = await ask(server, 'POST', '/v1/storage-classes/validate', {
        body: JSON.stringify({
          apiVersion: 'storage.k8s.io/v1',
          kind: 'StorageClass',
          metadata: { name: 'any' },
          provisioner: 'driver.longhorn.io',
          parameters: { backingImage },
        }),
        headers: { 'content-type': 'application/json' },
      })
      return (JSON.parse(text) as { valid: boolean }).valid
    }
    assert.is(await isValid('debian'), true)
    assert.is(await isValid('debian-2'), true)
    assert.is(await isValid('debian-3'), false)
  }),
)

consumers(
  'without a key there is no URL, and so no manifest; the reason is told',
  reached(
    async (server) => {
      const headers = { authorization: 'Bearer t0ken' }
      await put(server, 'my_image', odd, headers)
      const looks = await preflightOf(server, headers)
      const [longhorn] = looks
      assert.equal([longhorn?.fits, longhorn?.url], [false, null])
      const answer = await ask(server, 'GET', `${base}/manifest`, { headers })
      assert.is(answer.status, 412)
      assert.match(answer.text, 'URL_SIGNING_KEY')
    },
    { apiToken: 't0ken' },
  ),
)

consumers(
  'what is not ready, or asked for wrongly, is refused',
  reached(async (server) => {
    assert.is((await ask(server, 'GET', `${base}/preflight`)).status, 404)
    await put(server, 'my_image', odd)
    for (const query of ['kind=Pod', 'namespace=-', 'other=1', 'version=..']) {
      assert.is((await ask(server, 'GET', `${base}/manifest?${query}`)).status, 400, query)
    }
    assert.is((await ask(server, 'GET', `${base}/manifest?version=2`)).status, 404)
  }),
)

consumers.run()
