// A bucket behind a proxy, and behind certificates of its own: what is stored is what was sent.

import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, type Server, type Socket, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { FakeS3 } from '@backing-image/backend-s3/testing'
import { bytesOf, readAll } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openBackend } from './backends.ts'
import { readConfig } from './config.ts'
import { WebProxy, localCertificate } from '@backing-image/core/testing'

const proxied = suite('a bucket behind a proxy')
const folder = mkdtempSync(join(tmpdir(), 'proxy-'))
proxied.after(() => rmSync(folder, { recursive: true }))

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

/** Opening tries exclusive creation, with bodies in two pieces on fresh connections. */
async function storesThrough(fake: FakeS3, variables: Record<string, string>): Promise<void> {
  const config = readConfig({
    STORAGE_BACKEND_TYPE: 's3',
    S3_ENDPOINT: fake.endpoint,
    S3_ACCESS_KEY: fake.accessKeyId,
    S3_SECRET_KEY: fake.secretAccessKey,
    S3_BUCKET: fake.bucket,
    ...variables,
  })
  const backend = await openBackend(config)
  try {
    const body = randomBytes(9 * 1024 * 1024)
    await backend.put('a/large', bytesOf(body))
    await backend.put('a/small', bytesOf('small'), { ifAbsent: true })
    const { S3_PREFIX: prefix = '' } = variables
    assert.ok(fake.content(`${prefix}a/large`)?.equals(body))
    assert.is(fake.content(`${prefix}a/small`)?.toString(), 'small')
    assert.is((await readAll(await backend.get('a/small'))).toString(), 'small')
  } finally {
    await backend.close()
  }
}

const basic = `Basic ${Buffer.from('user:pass word').toString('base64')}`

proxied('over http every request goes to the proxy, whole and once', async () => {
  const [fake, proxy] = [await FakeS3.start(), await WebProxy.start()]
  try {
    await storesThrough(fake, { HTTP_PROXY: proxy.url })
    assert.is(proxy.seen.length, fake.count())
    assert.ok(proxy.seen.every(({ target }) => target.startsWith(`${fake.endpoint}/`)))
    assert.ok(proxy.seen.every(({ authorization }) => authorization === basic))
    const before = proxy.seen.length
    await storesThrough(fake, { HTTP_PROXY: proxy.url, NO_PROXY: '127.0.0.1', S3_PREFIX: 'b/' })
    assert.is(proxy.seen.length, before)
  } finally {
    await proxy.stop()
    await fake.stop()
  }
})

proxied('over https a tunnel leads to an endpoint that EXTRA_CA_FILE vouches for', async () => {
  const [fake, proxy] = [await FakeS3.start(), await WebProxy.start()]
  const { key, cert } = localCertificate
  const caFile = join(folder, 'ca.pem')
  writeFileSync(caFile, cert)
  const sockets = new Set<Socket>()
  const tls = createTlsServer({ key, cert }, (socket) => {
    const onward = connect(Number(new URL(fake.endpoint).port), '127.0.0.1')
    for (const each of [socket, onward]) {
      sockets.add(each)
      each.on('error', () => [socket, onward].forEach((either) => either.destroy()))
    }
    socket.pipe(onward).pipe(socket)
  })
  const port = await listening(tls)
  try {
    const endpoint = { S3_ENDPOINT: `https://localhost:${port}`, EXTRA_CA_FILE: caFile }
    await storesThrough(fake, endpoint)
    assert.is(proxy.seen.length, 0)
    await storesThrough(fake, { ...endpoint, HTTPS_PROXY: proxy.url, S3_PREFIX: 'b/' })
    assert.ok(proxy.seen.length > 0)
    assert.ok(proxy.seen.every(({ method }) => method === 'CONNECT'))
    assert.ok(proxy.seen.every(({ target }) => target === `localhost:${port}`))
  } finally {
    tls.close()
    for (const socket of sockets) socket.destroy()
    await proxy.stop()
    await fake.stop()
  }
})

proxied.run()
