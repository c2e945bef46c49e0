import * as assert from 'uvu/assert'
import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import { MemoryBackend, rawImage } from '@backing-image/core/testing'
import { type Serving, type Viewed, type Wire } from './testing/serving.ts'
import { ask, askJson, eventually, put, serving, wire } from './testing/serving.ts'

const upload = suite('upload')

let server: Serving
upload.before.each(async () => {
  server = await serving()
})
upload.after.each(async () => {
  await server.close()
})

const image = rawImage()
const path = '/v1/backing-images/ubuntu'
const hex = (algorithm: string) => createHash(algorithm).update(image).digest('hex')
const base64 = (algorithm: string) => createHash(algorithm).update(image).digest('base64')

/** A PUT whose head is out and whose body is ours to send. */
async function beginPut(head: string, target = path): Promise<Wire> {
  const line = await wire(server)
  line.socket.write(`PUT ${target} HTTP/1.1\r\nHost: here\r\n${head}\r\n`)
  return line
}

async function onlyFailed(name = 'ubuntu'): Promise<Viewed> {
  await eventually(async () => (await server.store.versions(name))[0]?.state === 'failed')
  const keys = await server.keys()
  assert.ok(
    keys.every((key) => key.startsWith('.jobs/') || key.startsWith('.marks/')),
    `nothing but the job stays: ${keys.join(' ')}`,
  )
  return (await server.store.versions(name))[0] as Viewed
}

upload(
  'a PUT is the image: stored, checked, answered with where it is, logged in one line',
  async () => {
    const { status, headers, json } = await askJson(server, 'PUT', path, {
      body: image,
      headers: { 'x-request-id': 'client-7' },
    })
    assert.is(status, 201)
    assert.is(json.state, 'ready')
    assert.is(json.version, '1')
    assert.is(json.currentChecksum, hex('sha512'))
    assert.is(headers.location, json.links.self)
    assert.is(headers.location, `${server.url}${path}?uuid=${json.uuid}`)
    assert.is(headers['x-request-id'], 'client-7')
    assert.equal((await ask(server, 'GET', `${path}/download`)).body, image)
    assert.is(server.lines.length, 1)
    const { requestId, name, sha512, msg } = server.lines[0] ?? {}
    assert.equal(
      { requestId, name, sha512, msg },
      { requestId: 'client-7', name: 'ubuntu', sha512: hex('sha512'), msg: 'image stored' },
    )
  },
)

upload('every option of the query is kept', async () => {
  const query = new URLSearchParams([
    ['version', '24.04'],
    ['checksum', hex('sha512')],
    ['size', String(image.length)],
    ['label', 'os=linux'],
    ['label', 'arch=amd64'],
    ['dataEngine', 'v2'],
    ['minNumberOfCopies', '3'],
  ])
  const stored = await put(server, `ubuntu?${query.toString()}`, image)
  assert.is(stored.version, '24.04')
  assert.is(stored.expectedChecksum, hex('sha512'))
  assert.is(stored.expected, `sha512:${hex('sha512')}`)
  assert.equal(stored.labels, { os: 'linux', arch: 'amd64' })
  assert.is(stored.dataEngine, 'v2')
  assert.is(stored.minNumberOfCopies, 3)
})

upload('a body of unknown length is taken too', async () => {
  const line = await beginPut('Transfer-Encoding: chunked\r\n')
  line.socket.write(`${image.length.toString(16)}\r\n`)
  line.socket.write(image)
  line.socket.write('\r\n0\r\n\r\n')
  assert.match(await line.until(/"currentChecksum":"[0-9a-f]{128}/), /^HTTP\/1.1 201/)
  line.socket.destroy()
})

upload('the digests of the headers and of the query are verified', async () => {
  const headers = { 'repr-digest': `sha-256=:${base64('sha256')}:, md5=:AAAA:` }
  assert.is((await put(server, 'ubuntu', image, headers)).expected, `sha256:${hex('sha256')}`)
  const wrong = `sha-512=:${Buffer.alloc(64).toString('base64')}:`
  for (const name of ['repr-digest', 'content-digest']) {
    const { status, json } = await askJson(server, 'PUT', '/v1/backing-images/debian', {
      body: image,
      headers: { [name]: wrong },
    })
    assert.is(status, 422)
    assert.is(json.code, 'checksum_mismatch')
    assert.is(json.expected, `sha512:${'0'.repeat(128)}`)
    assert.is(json.actual, `sha512:${hex('sha512')}`)
  }
  assert.is((await server.store.get('debian')).state, 'failed')
  assert.equal(await server.keys('.catalog/debian/'), [])
})

upload('a retry with the same bytes is 200 with the same image, with other bytes 409', async () => {
  const first = await put(server, 'ubuntu?version=24.04', image)
  const again = await askJson(server, 'PUT', `${path}?version=24.04`, { body: image })
  assert.is(again.status, 200)
  assert.is(again.json.uuid, first.uuid)
  const other = rawImage(4096)
  const { status, json } = await askJson(server, 'PUT', `${path}?version=24.04`, { body: other })
  assert.is(status, 409)
  assert.is(json.code, 'already_exists')
  assert.is((await server.store.versions('ubuntu')).length, 1)
})

upload('If-None-Match: * takes a new name only', async () => {
  const headers = { 'if-none-match': '*' }
  assert.is((await put(server, 'ubuntu', image, headers)).version, '1')
  const { status, json } = await askJson(server, 'PUT', path, { body: image, headers })
  assert.is(status, 412)
  assert.is(json.code, 'precondition_failed')
  assert.is((await server.store.versions('ubuntu')).length, 1)
})

upload('100 Continue comes only when the body is wanted', async () => {
  const head = `Content-Length: ${image.length}\r\nExpect: 100-continue\r\n`
  const good = await beginPut(head)
  assert.is(await good.until(/\r\n\r\n/), 'HTTP/1.1 100 Continue\r\n\r\n')
  good.socket.write(image)
  assert.match(await good.until(/HTTP\/1.1 201/), /HTTP\/1.1 201/)
  good.socket.destroy()
  const digest = `Repr-Digest: sha-256=:${Buffer.alloc(32).toString('base64')}:\r\n`
  for (const [target, more, status] of [
    [`${path}?version=1`, digest, 409],
    [path, 'If-None-Match: *\r\n', 412],
    ['/v1/backing-images/UPPER', '', 400],
    [`${path}?versoin=1`, '', 400],
    [path, 'Content-Type: multipart/form-data; boundary=x\r\n', 415],
    [path, 'Content-Encoding: gzip\r\n', 415],
    [path, 'Content-Range: bytes 0-1/2\r\n', 400],
    ['/v1/nothing', '', 404],
  ] as const) {
    const line = await beginPut(head + more, target)
    const answer = await line.until(/\r\n\r\n/)
    assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `), `${target} ${more}`)
    assert.match(answer, /connection: close/i)
    line.socket.destroy()
  }
  const large = await beginPut(`Content-Length: ${2 ** 40}\r\nExpect: 100-continue\r\n`)
  assert.match(await large.until(/\r\n\r\n/), /^HTTP\/1.1 413 /)
  large.socket.destroy()
  const odd = await beginPut(`Content-Length: 3\r\nExpect: a-miracle\r\n`)
  assert.match(await odd.until(/\r\n\r\n/), /^HTTP\/1.1 417 /)
  odd.socket.destroy()
  assert.is((await server.store.versions('ubuntu')).length, 1)
})

upload('a body that is coded for its transfer is refused, never stored coded', async () => {
  for (const coding of ['gzip, chunked', 'x, chunked', 'gzip, Chunked']) {
    const line = await beginPut(`Transfer-Encoding: ${coding}\r\n`)
    line.socket.write('3\r\nabc\r\n0\r\n\r\n')
    assert.match(await line.until(/\r\n\r\n/), /^HTTP\/1.1 415 /, coding)
    line.socket.destroy()
  }
  assert.equal(await server.keys(), [])
})

upload('a refusal reaches a client that goes on sending', async () => {
  const bytes = 8 * 1024 * 1024
  const line = await beginPut(`Content-Length: ${bytes}\r\nContent-Encoding: gzip\r\n`)
  for (let sent = 0; sent < bytes; sent += image.length) line.socket.write(image)
  line.socket.end()
  const answer = await line.ended()
  assert.match(answer, /^HTTP\/1.1 415 /)
  assert.match(answer, /"code":"unsupported_media_type"/)
})

for (const [kind, head] of [
  ['Content-Length', `Content-Length: ${image.length}\r\n`],
  ['chunked', 'Transfer-Encoding: chunked\r\n'],
] as const) {
  const half = image.subarray(0, image.length / 2)
  const piece =
    kind === 'chunked' ? `${half.length.toString(16)}\r\n${half.toString('latin1')}\r\n` : half
  for (const way of ['destroy', 'end'] as const) {
    upload(
      `a client that leaves by ${way} in a ${kind} body leaves a failed image only`,
      async () => {
        const line = await beginPut(head)
        line.socket.write(piece, 'latin1')
        await eventually(async () => (await server.store.inFlight()).length === 1)
        await new Promise((resolve) => setTimeout(resolve, 20))
        line.socket[way]()
        const failed = await onlyFailed()
        const of = kind === 'chunked' ? '' : ` of ${image.length}`
        assert.match(
          failed.message,
          new RegExp(`ended the upload early: ${half.length}${of} bytes`),
        )
        line.socket.destroy()
      },
    )
  }
}

upload('a client that sends nothing for the idle time is cut, and told why', async () => {
  const line = await beginPut(`Content-Length: ${image.length}\r\n`)
  line.socket.write(image.subarray(0, 1000))
  const answer = await line.until(/"code"/)
  assert.match(answer, /^HTTP\/1.1 400 /)
  assert.match(answer, /No byte came for 300 ms: 1000 of 1048576 bytes had arrived/)
  line.socket.destroy()
  assert.match((await onlyFailed()).message, /No byte came for 300 ms/)
})

upload('a slow client that sends a byte now and then is not cut', async () => {
  const line = await beginPut('Content-Length: 512\r\n')
  for (let sent = 0; sent < 8; sent++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    line.socket.write(image.subarray(sent * 64, sent * 64 + 64))
  }
  assert.match(await line.until(/\r\n\r\n/), /^HTTP\/1.1 201 /)
  line.socket.destroy()
})

upload("the time that our own storage takes is not the client's", async () => {
  const slow = new MemoryBackend()
  const own = await serving({ idleTimeoutMs: 100 }, slow)
  slow.before = async (verb, key) => {
    if (verb === 'put' && key.endsWith('/backing')) {
      await new Promise((resolve) => setTimeout(resolve, 400))
    }
  }
  const stored = await put(own, 'ubuntu', image)
  assert.is(stored.state, 'ready')
  await own.close()
})

upload('uploads over the limit wait unread, and go on in turn', async () => {
  const own = await serving({ concurrentIngestsMax: 1 })
  const head = `Content-Length: ${image.length}\r\nExpect: 100-continue\r\nHost: here\r\n\r\n`
  const [first, second] = [await wire(own), await wire(own)]
  first.socket.write(`PUT /v1/backing-images/first HTTP/1.1\r\n${head}`)
  await first.until(/100 Continue/)
  second.socket.write(`PUT /v1/backing-images/second HTTP/1.1\r\n${head}`)
  // Longer than the idle time: a wait for a turn is no silence of the client.
  for (let sent = 0; sent < 8; sent++) {
    await new Promise((resolve) => setTimeout(resolve, 60))
    first.socket.write(image.subarray(sent * 64, sent * 64 + 64))
  }
  assert.is(second.received(), '')
  assert.equal(
    (await own.store.inFlight()).map(({ name }) => name),
    ['first'],
  )
  first.socket.write(image.subarray(512))
  await first.until(/HTTP\/1.1 201/)
  await second.until(/100 Continue/)
  second.socket.write(image)
  await second.until(/HTTP\/1.1 201/)
  first.socket.destroy()
  second.socket.destroy()
  await own.close()
})

upload('one who leaves while waiting for a turn leaves no trace', async () => {
  const own = await serving({ concurrentIngestsMax: 1 })
  const first = await wire(own)
  first.socket.write(
    `PUT /v1/backing-images/first HTTP/1.1\r\nHost: here\r\nContent-Length: 512\r\n\r\n`,
  )
  await eventually(async () => (await own.store.inFlight()).length === 1)
  const second = await wire(own)
  second.socket.write(
    `PUT /v1/backing-images/second HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n`,
  )
  await new Promise((resolve) => setTimeout(resolve, 50))
  second.socket.destroy()
  await new Promise((resolve) => setTimeout(resolve, 50))
  first.socket.write(image.subarray(0, 512))
  await first.until(/HTTP\/1.1 201/)
  first.socket.destroy()
  assert.is((await put(own, 'third', image)).state, 'ready')
  assert.equal(await own.store.versions('second'), [])
  await own.close()
})

upload.run()
