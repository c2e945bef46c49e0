import * as assert from 'uvu/assert'
import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import { MemoryBackend, isoImage, qcow2Image, rawImage } from '@backing-image/core/testing'
import { type Serving, ask, askJson, eventually, put, serving, wire } from './testing/serving.ts'

const download = suite('download')

let server: Serving
download.before.each(async () => {
  server = await serving()
})
download.after.each(async () => {
  await server.close()
})

const image = rawImage()
const path = '/v1/backing-images/ubuntu/download'
const sha512 = createHash('sha512').update(image).digest()

download('HEAD and GET tell all that a client needs, alike', async () => {
  await put(server, 'ubuntu?version=24.04', image)
  const got = await ask(server, 'GET', path)
  const head = await ask(server, 'HEAD', path)
  assert.is(got.status, 200)
  assert.equal(got.body, image)
  assert.is(head.status, 200)
  assert.is(head.body.length, 0)
  const sha256 = createHash('sha256').update(image).digest('base64')
  const expected = {
    'content-length': String(image.length),
    'accept-ranges': 'bytes',
    etag: `"${sha512.toString('hex')}"`,
    'repr-digest': `sha-512=:${sha512.toString('base64')}:, sha-256=:${sha256}:`,
    'cache-control': 'no-cache, no-transform',
    'content-type': 'application/octet-stream',
    'content-disposition': 'attachment; filename="ubuntu-24.04.img"',
    'x-content-type-options': 'nosniff',
  }
  for (const { headers } of [got, head]) {
    for (const [name, value] of Object.entries(expected)) assert.is(headers[name], value)
    assert.ok(!Number.isNaN(Date.parse(headers['last-modified'] ?? '')))
    assert.is(headers['content-encoding'], undefined)
    assert.ok(headers['x-request-id'])
  }
  const fixed = await ask(server, 'HEAD', `${path}?version=24.04`)
  assert.is(fixed.headers['cache-control'], 'max-age=31536000, immutable, no-transform')
})

download('bytes are never encoded, whatever the client would take', async () => {
  await put(server, 'ubuntu', image)
  const got = await ask(server, 'GET', path, { headers: { 'accept-encoding': 'gzip, br' } })
  assert.is(got.headers['content-encoding'], undefined)
  assert.equal(got.body, image)
})

download('the file name tells the format', async () => {
  for (const [name, bytes, file] of [
    ['one', qcow2Image(), 'one-1.qcow2'],
    ['two', isoImage(), 'two-1.iso'],
  ] as const) {
    await put(server, name, bytes)
    const { headers } = await ask(server, 'HEAD', `/v1/backing-images/${name}/download`)
    assert.is(headers['content-disposition'], `attachment; filename="${file}"`)
  }
})

download('one range is 206, several are 200 whole, one behind the end is 416', async () => {
  await put(server, 'ubuntu', image)
  const ask206 = (range: string, more = {}) =>
    ask(server, 'GET', path, { headers: { range, ...more } })
  const part = await ask206('bytes=510-511')
  assert.is(part.status, 206)
  assert.is(part.headers['content-range'], `bytes 510-511/${image.length}`)
  assert.is(part.headers['content-length'], '2')
  assert.equal(part.body, Buffer.from([0x55, 0xaa]))
  assert.equal((await ask206('bytes=-3')).body, image.subarray(-3))
  const several = await ask206('bytes=0-1,4-5')
  assert.is(several.status, 200)
  assert.equal(several.body, image)
  const behind = await ask206(`bytes=${image.length}-`)
  assert.is(behind.status, 416)
  assert.is(behind.headers['content-range'], `bytes */${image.length}`)
  assert.match(behind.text, /"code":"range_not_satisfiable"/)
  const same = { 'if-range': part.headers.etag }
  assert.is((await ask206('bytes=0-1', same)).status, 206)
  assert.is((await ask206('bytes=0-1', { 'if-range': '"other"' })).status, 200)
  const head = await ask(server, 'HEAD', path, { headers: { range: 'bytes=0-1' } })
  assert.is(head.status, 200, 'a range means something with GET only')
})

download('conditions give 304 and 412 without a byte', async () => {
  await put(server, 'ubuntu', image)
  const { etag = '' } = (await ask(server, 'HEAD', path)).headers
  const known = await ask(server, 'GET', path, { headers: { 'if-none-match': etag } })
  assert.is(known.status, 304)
  assert.is(known.body.length, 0)
  assert.is(known.headers.etag, etag)
  const other = await ask(server, 'GET', path, { headers: { 'if-match': '"other"' } })
  assert.is(other.status, 412)
  assert.match(other.text, /"code":"precondition_failed"/)
})

download('what is not ready is 404 with its state and message', async () => {
  const bad = await ask(server, 'PUT', '/v1/backing-images/ubuntu', {
    body: image,
    headers: { 'repr-digest': `sha-512=:${Buffer.alloc(64).toString('base64')}:` },
  })
  assert.is(bad.status, 422)
  const { status, json } = await askJson(server, 'GET', path)
  assert.is(status, 404)
  assert.is(json.state, 'failed')
  assert.match(json.detail, /sha512 of the received bytes/)
  const absent = await askJson(server, 'GET', '/v1/backing-images/nope/download')
  assert.is(absent.status, 404)
  assert.is(absent.json.code, 'not_found')
})

download(
  'an image that breaks while it is read is a cut connection, never a short success',
  async () => {
    const backend = new MemoryBackend()
    const own = await serving({}, backend)
    await put(own, 'ubuntu', image)
    const get = backend.get.bind(backend)
    backend.get = async (key, options) => {
      const bytes = await get(key, options)
      if (!key.endsWith('/backing')) return bytes
      return (async function* () {
        yield image.subarray(0, 100_000)
        throw new Error('the disk is gone')
      })()
    }
    for (const headers of [{}, { range: 'bytes=0-500000' }]) {
      const error = await ask(own, 'GET', path, { headers }).catch((thrown: unknown) => thrown)
      assert.ok(error instanceof Error, 'no answer counts as whole')
    }
    await eventually(() => own.lines.some(({ msg }) => msg === 'download cut'))
    await own.close()
  },
)

download(
  'a client that takes nothing for the idle time is cut; one that reads slowly is not',
  async () => {
    const large = rawImage(48 * 1024 * 1024)
    await put(server, 'ubuntu', large)
    const idle = await wire(server)
    idle.socket.pause()
    idle.socket.write(`GET ${path} HTTP/1.1\r\nHost: here\r\n\r\n`)
    const slow = await wire(server)
    let taken = 0
    slow.socket.removeAllListeners('data')
    slow.socket.on('data', (chunk: Buffer) => {
      taken += chunk.length
      slow.socket.pause()
      setTimeout(() => slow.socket.resume(), 1)
    })
    slow.socket.write(`GET ${path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n`)
    await eventually(() => server.lines.length >= 1)
    await slow.ended()
    assert.ok(taken > large.length, `${taken} of ${large.length} bytes were taken`)
    idle.socket.resume()
    await idle.ended()
    assert.ok(idle.received().length < large.length, 'the one that read nothing was cut')
  },
)

download('a client that leaves ends the reading', async () => {
  await put(server, 'ubuntu', rawImage(48 * 1024 * 1024))
  const { backend } = server
  const get = backend.get.bind(backend)
  let isReleased = false
  backend.get = async (key, options) => {
    const bytes = await get(key, options)
    return (async function* () {
      try {
        yield* bytes
      } finally {
        isReleased ||= key.endsWith('/backing')
      }
    })()
  }
  const line = await wire(server)
  line.socket.write(`GET ${path} HTTP/1.1\r\nHost: here\r\n\r\n`)
  await line.until(/\r\n\r\n/)
  line.socket.destroy()
  await eventually(() => isReleased)
})

download('a client that leaves before the first byte is no error', async () => {
  await put(server, 'ubuntu', image)
  const { backend } = server
  const get = backend.get.bind(backend)
  const asked = new Promise<AbortSignal>((resolve) => {
    backend.get = async (key, options) => {
      const signal = options?.signal
      if (!key.endsWith('/backing') || !signal) return await get(key, options)
      resolve(signal)
      await new Promise((left) => signal.addEventListener('abort', left))
      throw signal.reason
    }
  })
  const line = await wire(server)
  line.socket.write(`GET ${path} HTTP/1.1\r\nHost: here\r\n\r\n`)
  const signal = await asked
  line.socket.destroy()
  await eventually(() => signal.aborted)
  const { text } = await ask(server, 'GET', '/metrics')
  assert.not.match(text, /errors_total\{code="internal"\} [^0]/)
  assert.not.ok(server.lines.some(({ msg }) => msg === 'request failed'))
})

download.run()
