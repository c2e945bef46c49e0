// Uploads that come compressed, over HTTP: unpacked where that is asked for, else told how to ask.

import * as assert from 'uvu/assert'
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import { allCompressions, packed, rawImage, sample } from '@backing-image/core/testing'
import { type Serving, ask, askJson, eventually, form, serving, wire } from './testing/serving.ts'

const decompress = suite('decompress')

/** Nothing here is about clients that are slow. */
const idleTimeoutMs = 60_000

let server: Serving
decompress.before.each(async () => {
  server = await serving({ idleTimeoutMs })
})
decompress.after.each(async () => {
  await server.close()
})

const images = '/v1/backing-images'
const path = `${images}/ubuntu`
const auto = `${path}?decompress=auto`
const digest = (algorithm: string, body: Uint8Array): string =>
  createHash(algorithm).update(body).digest('hex')

for (const compression of allCompressions) {
  const file = packed(compression)
  const arrived = {
    compression,
    size: file.length,
    checksums: { sha512: digest('sha512', file), sha256: digest('sha256', file) },
  }

  decompress(
    `${compression}: a PUT that asks for it stores what is inside, and tells both`,
    async () => {
      const { status, json } = await askJson(server, 'PUT', auto, { body: file })
      assert.is(status, 201)
      assert.equal([json.state, json.size, json.format], ['ready', sample.length, 'raw'])
      assert.is(json.currentChecksum, digest('sha512', sample))
      assert.equal(json.packed, arrived)
      assert.equal((await askJson(server, 'GET', path)).json.packed, arrived)
      const { body, headers } = await ask(server, 'GET', `${path}/download`)
      assert.ok(body.equals(sample))
      assert.match(
        String(headers['repr-digest']),
        createHash('sha256').update(sample).digest('base64'),
      )
    },
  )

  decompress(`${compression}: a form that asks for it, too`, async () => {
    const { status, json } = await askJson(
      server,
      'POST',
      images,
      form([
        { name: 'name', value: 'ubuntu' },
        { name: 'decompress', value: 'auto' },
        { name: 'checksum', value: `sha256:${arrived.checksums.sha256}` },
        { name: 'file', value: file, filename: 'u.img' },
      ]),
    )
    assert.is(status, 201)
    assert.equal([json.size, json.packed], [sample.length, arrived])
  })

  decompress(`${compression}: who does not ask is told how`, async () => {
    for (const target of [path, `${path}?decompress=never`]) {
      const { status, json } = await askJson(server, 'PUT', target, { body: file })
      assert.equal([status, json.code], [422, 'unsupported_format'])
      assert.match(json.detail, 'send it with decompress=auto')
    }
    const fields = [
      { name: 'name', value: 'ubuntu' },
      { name: 'file', value: file, filename: 'u.img' },
    ]
    const { status, json } = await askJson(server, 'POST', images, form(fields))
    assert.equal([status, json.code], [422, 'unsupported_format'])
    assert.equal(await server.keys('.catalog/'), [])
  })

  decompress(
    `${compression}: a wrong checksum names both forms, and leaves a failed job`,
    async () => {
      const wrong = `sha256:${'0'.repeat(64)}`
      const { status, json } = await askJson(server, 'PUT', `${auto}&checksum=${wrong}`, {
        body: file,
      })
      assert.equal([status, json.code, json.expected], [422, 'checksum_mismatch', wrong])
      assert.match(json.detail, arrived.checksums.sha256)
      assert.match(json.detail, digest('sha256', sample))
      const keys = await server.keys()
      assert.ok(
        keys.every((key) => key.startsWith('.jobs/') || key.startsWith('.marks/')),
        keys.join(' '),
      )
      assert.is((await server.store.get('ubuntu')).state, 'failed')
    },
  )

  decompress(`${compression}: bytes that are damaged or cut off are 422`, async () => {
    const damaged = Buffer.from(file)
    damaged[200] = (damaged[200] ?? 0) ^ 1
    for (const [body, expected] of [
      [damaged, /damaged/],
      [file.subarray(0, -1), /cut off/],
      [Buffer.concat([file, Buffer.from('more')]), /behind its end/],
    ] as const) {
      const { status, json } = await askJson(server, 'PUT', auto, { body })
      assert.equal([status, json.code], [422, 'unsupported_format'])
      assert.match(json.detail, expected)
    }
  })
}

decompress('an image that is not compressed is taken as usual', async () => {
  const { status, json } = await askJson(server, 'PUT', auto, { body: rawImage() })
  assert.equal([status, json.size, json.packed], [201, rawImage().length, undefined])
})

decompress('any other wish is 400', async () => {
  for (const wish of ['yes', 'AUTO', 'gzip']) {
    const target = `${path}?decompress=${wish}`
    const { status, json } = await askJson(server, 'PUT', target, { body: rawImage() })
    assert.is(status, 400)
    assert.match(json.detail, /decompress is .*one of auto, never/)
  }
  assert.equal(await server.keys(), [])
})

decompress('what grows over MAX_IMAGE_SIZE is 413 and leaves nothing', async () => {
  await server.close()
  server = await serving({ imageBytesMax: 1024 * 1024, idleTimeoutMs })
  const body = gzipSync(Buffer.alloc(1024 * 1024 + 1))
  const { status, json } = await askJson(server, 'PUT', auto, { body })
  assert.equal([status, json.code, json.expected], [413, 'too_large', String(1024 * 1024)])
  assert.match(json.detail, 'MAX_IMAGE_SIZE')
  await eventually(async () => (await server.keys()).length === 0)
  const fits = gzipSync(Buffer.alloc(1024 * 1024))
  assert.is((await askJson(server, 'PUT', auto, { body: fits })).status, 201)
})

decompress(
  'a retry that gives the digest of either form is answered without its body',
  async () => {
    const file = packed('xz')
    await askJson(server, 'PUT', `${auto}&version=1`, { body: file })
    for (const body of [file, sample]) {
      const checksum = `sha256:${digest('sha256', body)}`
      const line = await wire(server)
      const target = `${auto}&version=1&checksum=${checksum}`
      line.socket.write(
        `PUT ${target} HTTP/1.1\r\nHost: here\r\nContent-Length: ${file.length}\r\n\r\n`,
      )
      assert.match(await line.until(/\r\n\r\n/), /^HTTP\/1.1 200/)
      line.socket.destroy()
    }
  },
)

decompress(
  'a client that waits for 100 Continue is told to go on, and one that leaves is forgotten',
  async () => {
    const file = packed('zstd')
    const line = await wire(server)
    const head = `Content-Length: ${file.length}\r\nExpect: 100-continue\r\n`
    line.socket.write(`PUT ${auto} HTTP/1.1\r\nHost: here\r\n${head}\r\n`)
    assert.match(await line.until(/\r\n\r\n/), /^HTTP\/1.1 100/)
    line.socket.write(file.subarray(0, 100))
    await eventually(async () => (await server.store.versions('ubuntu'))[0]?.processedSize === 100)
    line.socket.destroy()
    await eventually(async () => (await server.store.versions('ubuntu'))[0]?.state === 'failed')
    // Whoever notices first says it.
    const { message } = await server.store.get('ubuntu')
    assert.match(message, /100 of 926 bytes had arrived|went away before/)
  },
)

decompress.run()
