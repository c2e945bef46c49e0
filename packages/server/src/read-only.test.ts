// A store that must not be written to, and one that hands its downloads over.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Finding, type PresignOptions, type Presign, type Probe } from '@backing-image/core'
import { MemoryBackend, MemoryStore, rawImage } from '@backing-image/core/testing'
import type { S3Config, StorageConfig } from './config.ts'
import { ask, askJson, keysOf, put, serving } from './testing/serving.ts'

const readOnly = suite('a store that was tried')

/** As a bucket on which two writers would collide. */
class Refusing extends MemoryBackend implements Probe {
  readonly findings: Finding[] = [{ what: 'exclusive creation', level: 'FAIL', text: 'none' }]
  readonly writeRefusal = 'The bucket can not create exclusively. Set S3_SINGLE_WRITER=true.'
}

class Linking extends MemoryBackend implements Presign {
  async presign(key: string, options: PresignOptions): Promise<string> {
    return `https://s3.example/${key}?for=${options.expiresSeconds}&as=${options.disposition}`
  }
}

readOnly(
  'it serves what is there, refuses every write before its body, and changes nothing',
  async () => {
    const medium = new MemoryStore()
    const first = await serving({}, new MemoryBackend({ shared: medium }))
    const image = rawImage()
    await put(first, 'jammy', image)
    await first.close()
    const backend = new Refusing({ shared: medium })
    const before = await keysOf(backend)
    const server = await serving({}, backend)
    try {
      assert.equal((await ask(server, 'GET', '/v1/backing-images/jammy/download')).body, image)
      assert.is((await askJson(server, 'GET', '/v1/backing-images')).json.data.length, 1)
      assert.is((await ask(server, 'GET', '/ready')).status, 200)
      const writes: [string, string, string?][] = [
        ['PUT', '/v1/backing-images/noble', 'never stored'],
        ['DELETE', '/v1/backing-images/jammy'],
        ['POST', '/v1/backing-images/jammy/rollback', '{"version":"1"}'],
      ]
      for (const [method, path, body] of writes) {
        const headers = body?.startsWith('{') ? { 'Content-Type': 'application/json' } : {}
        const answer = await askJson(server, method, path, { headers, ...(body && { body }) })
        assert.is(answer.status, 403, `${method} ${path}`)
        assert.is(answer.json.code, 'forbidden')
        assert.match(answer.json.detail, 'S3_SINGLE_WRITER=true')
      }
      await server.store.sweep()
      await server.store.tend()
      assert.equal(await keysOf(backend), before)
    } finally {
      await server.close()
    }
  },
)

const s3: S3Config = {
  endpoint: 'https://s3.example',
  accessKey: 'key',
  secretKey: 'secret',
  bucket: 'images',
  region: 'us-east-1',
  prefix: '',
  forcePathStyle: true,
  redirectDownloads: true,
  singleWriter: false,
}

readOnly('a download is handed over to the store only where the operator wants that', async () => {
  const storage: StorageConfig = { type: 's3', path: '/nowhere', s3 }
  const server = await serving({ storage }, new Linking())
  const path = '/v1/backing-images/jammy/download'
  try {
    await put(server, 'jammy', rawImage())
    const { status, headers, body } = await ask(server, 'GET', path)
    assert.is(status, 307)
    assert.match(
      headers.location ?? '',
      /^https:\/\/s3\.example\/jammy-[0-9a-f]{8}\/backing\?for=900/,
    )
    assert.match(headers.location ?? '', 'jammy-1.img')
    assert.is(headers['cache-control'], 'no-store')
    assert.is(body.length, 0)
    // A range is the store's to serve.
    assert.is((await ask(server, 'GET', path, { headers: { Range: 'bytes=1-2' } })).status, 307)
    // Longhorn and CDI want a 200; the permanent URL never redirects; the store knows no tag of ours.
    assert.is((await ask(server, 'HEAD', path)).status, 200)
    const etag = (await ask(server, 'HEAD', path)).headers.etag ?? ''
    const conditional = await ask(server, 'GET', path, { headers: { 'If-None-Match': etag } })
    assert.is(conditional.status, 304)
    const resumed = await ask(server, 'GET', path, {
      headers: { 'If-Range': etag, Range: 'bytes=1-2' },
    })
    assert.is(resumed.status, 206)
    const { json } = await askJson(server, 'GET', '/v1/backing-images/jammy')
    const file = new URL(json.links.file ?? '')
    assert.is((await ask(server, 'GET', file.pathname)).status, 200)
  } finally {
    await server.close()
  }
  const plain = { ...storage, s3: { ...s3, redirectDownloads: false } }
  const other = await serving({ storage: plain }, new Linking())
  try {
    await put(other, 'jammy', rawImage())
    assert.is((await ask(other, 'GET', path)).status, 200)
  } finally {
    await other.close()
  }
})

readOnly.run()
