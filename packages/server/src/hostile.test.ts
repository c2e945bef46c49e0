// Bad input over HTTP: each is a 4xx that says what is wrong, and nothing of it is stored.

import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { hostileImages, rawImage } from '@backing-image/core/testing'
import { type Serving, ask, askJson, eventually, form, serving, wire } from './testing/serving.ts'

const hostile = suite('hostile')

let server: Serving
hostile.before.each(async () => {
  server = await serving()
})
hostile.after.each(async () => {
  await server.close()
})

const image = rawImage(4096)

async function nothingStored(): Promise<void> {
  assert.equal(
    (await server.store.list()).filter(({ state }) => state !== 'failed'),
    [],
  )
  const keys = await server.keys()
  const bytes = keys.filter((key) => !/^\.(jobs|marks)\//.test(key))
  assert.equal(bytes, [], 'no bytes and no record')
}

const names = {
  dots: '..',
  'a dot': '.',
  'encoded dots': '%2e%2e',
  'half-encoded dots': '.%2E',
  'a slash': 'a%2fb',
  'a backslash': 'a%5Cb',
  'a climb': '..%2f..%2fetc',
  NUL: 'ab%00c',
  'a line break': 'ab%0d%0ax',
  'upper case': 'Ubuntu',
  '300 characters': 'a'.repeat(300),
  '65 characters': 'a'.repeat(65),
  'one character': 'a',
  'a leading dot': '.ab',
  'a leading dash': '-ab',
  'a space': 'a%20b',
  'a plus': 'a+b',
  'an umlaut': '%C3%BC%C3%BC',
  'broken encoding': 'ab%zz',
  'broken UTF-8': 'ab%ff',
  'a reserved folder': '.catalog',
}

for (const [what, name] of Object.entries(names)) {
  hostile(`a name with ${what} is 400 with the rule, on every route`, async () => {
    const multipart = form([
      { name: 'name', value: decodeURIComponentOr(name) },
      { name: 'file', value: image, filename: 'x' },
    ])
    const answers = [
      await askJson(server, 'PUT', `/v1/backing-images/${name}`, { body: image }),
      await askJson(server, 'GET', `/v1/backing-images/${name}/download`),
      await askJson(server, 'DELETE', `/v1/backing-images/${name}`),
      await askJson(server, 'POST', '/v1/backing-images', multipart),
    ]
    for (const { status, json } of answers) {
      assert.is(status, 400)
      assert.is(json.code, 'invalid_request')
      assert.match(json.detail, /no image name: 2 to 64|percent-encoding/)
    }
    await nothingStored()
  })
}

function decodeURIComponentOr(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

hostile('an image that must not be stored is 422 for its reason', async () => {
  const images = hostileImages()
  assert.ok(images.length > 20)
  for (const [index, { name, content, reason }] of images.entries()) {
    const asForm = index % 2 === 1
    const { status, json } = asForm
      ? await askJson(
          server,
          'POST',
          '/v1/backing-images',
          form([
            { name: 'name', value: 'evil' },
            { name: 'file', value: content, filename: 'x' },
          ]),
        )
      : await askJson(server, 'PUT', '/v1/backing-images/evil', { body: content })
    assert.is(status, 422, name)
    assert.is(json.code, reason, name)
    assert.ok(json.detail.length > 20)
  }
  await nothingStored()
})

hostile('a large image that is bad at its head is answered while it is still sent', async () => {
  const bad = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(32 * 1024 * 1024)])
  const { status, json } = await askJson(server, 'PUT', '/v1/backing-images/evil', { body: bad })
  assert.is(status, 422)
  assert.is(json.code, 'unsupported_format')
  await nothingStored()
})

hostile('bodies that PUT does not take are refused with the command that is right', async () => {
  const put = (headers: Record<string, string>, body: Uint8Array | string = image) =>
    askJson(server, 'PUT', '/v1/backing-images/ubuntu', { body, headers })
  const command = `curl -T FILE ${server.url}/v1/backing-images/ubuntu`
  for (const [headers, status] of [
    [{ 'content-type': 'multipart/form-data; boundary=x' }, 415],
    [{ 'content-type': 'multipart/mixed' }, 415],
    [{ 'content-type': 'application/x-www-form-urlencoded' }, 415],
    [{ 'content-range': 'bytes 1000-4095/4096' }, 400],
    [{ 'content-range': 'nonsense' }, 400],
  ] as const) {
    const answer = await put(headers)
    assert.is(answer.status, status, JSON.stringify(headers))
    assert.ok(answer.json.detail.includes(command), answer.json.detail)
  }
  for (const encoding of ['gzip', 'br', 'gzip, identity', 'x']) {
    assert.is((await put({ 'content-encoding': encoding })).status, 415, encoding)
  }
  assert.is((await put({ 'repr-digest': 'sha-512=:AAAA:' })).status, 400)
  assert.is((await put({ 'if-match': '*' })).status, 400)
  assert.is((await put({ 'if-none-match': '"x"' })).status, 400)
  await nothingStored()
})

hostile('sizes over the limit are 413, told from the head where it tells', async () => {
  const own = await serving({ imageBytesMax: 1024 * 1024 })
  const large = rawImage(1024 * 1024 + 512)
  const head = await askJson(own, 'PUT', '/v1/backing-images/ubuntu', { body: large })
  assert.is(head.status, 413)
  assert.is(head.json.code, 'too_large')
  assert.equal(await own.store.versions('ubuntu'), [], 'no trace')
  const late = await askJson(
    own,
    'POST',
    '/v1/backing-images',
    form([
      { name: 'name', value: 'ubuntu' },
      { name: 'file', value: large, filename: 'x' },
    ]),
  )
  assert.is(late.status, 413)
  assert.equal(
    (await own.keys()).filter((key) => !key.startsWith('.marks/')),
    [],
    'no trace',
  )
  const endless = await wire(own)
  endless.socket.write(
    'POST /v1/backing-images HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n' +
      'Content-Type: multipart/form-data; boundary=x\r\n\r\n',
  )
  const disposition = 'Content-Disposition: form-data; name='
  const begin =
    `--x\r\n${disposition}"name"\r\n\r\nubuntu\r\n` +
    `--x\r\n${disposition}"file"; filename="x"\r\n\r\n`
  endless.socket.write(`${begin.length.toString(16)}\r\n${begin}\r\n`)
  const chunk = `10000\r\n${'p'.repeat(65_536)}\r\n`
  for (let count = 0; count < 40; count++) endless.socket.write(chunk)
  assert.match(await endless.until(/"code"/), /^HTTP\/1.1 413 /)
  endless.socket.destroy()
  await own.close()
})

hostile('a head of 1 MiB is 431, and garbage 400', async () => {
  const large = await wire(server)
  large.socket.write(
    `GET /health HTTP/1.1\r\nHost: here\r\nX-Large: ${'x'.repeat(1024 * 1024)}\r\n\r\n`,
  )
  assert.match(await large.ended(), /^HTTP\/1.1 431 /)
  for (const head of [
    'nonsense\r\n\r\n',
    'GET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/9.9\r\nHost: x\r\n\r\n',
    'GET /health HTTP/1.1\r\nHost: here\r\nBad Header: x\r\n\r\n',
    'PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n',
    'PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n',
    'PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
    'PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
    'GET /health HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n',
    'GET \\health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
  ]) {
    const line = await wire(server)
    line.socket.write(head)
    assert.match(await line.ended(), /^HTTP\/1.1 400 /, head)
    line.socket.destroy()
  }
  await nothingStored()
})

hostile('more bytes than Content-Length says are 400, and no short image stays', async () => {
  const line = await wire(server)
  line.socket.write(
    'PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n',
  )
  line.socket.write(image)
  assert.match(await line.ended(), /^HTTP\/1.1 400 [^]*More bytes came than Content-Length says/)
  await nothingStored()
})

hostile('a broken chunked body is 400 and nothing of it stays', async () => {
  const line = await wire(server)
  line.socket.write(
    'PUT /v1/backing-images/ubuntu HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n' +
      `200\r\n${'x'.repeat(512)}\r\nzz\r\n`,
  )
  assert.match(await line.ended(), /^HTTP\/1.1 400 /)
  await eventually(async () => (await server.store.versions('ubuntu'))[0]?.state === 'failed')
  await nothingStored()
})

hostile('a Host that is none is 400 with an id, and says what is wrong', async () => {
  for (const host of ['a b', 'user@evil', 'x:99999', 'a/b', 'x:', '[::1']) {
    const line = await wire(server)
    line.socket.write(`GET /health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    const answer = await line.ended()
    assert.match(answer, /^HTTP\/1.1 400 /, host)
    assert.match(answer, /\r\nx-request-id: [0-9a-f-]{36}\r\n/i, host)
    assert.match(answer, `The Host header is ${JSON.stringify(JSON.stringify(host)).slice(1, -1)}`)
    assert.match(answer, '"code":"invalid_request"')
  }
  for (const host of ['here', 'HERE.example.org:80', '127.0.0.1:1', '[::1]:8080', '[::1]']) {
    const line = await wire(server)
    line.socket.write(`GET /health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    assert.match(await line.ended(), /^HTTP\/1.1 200 /, host)
  }
})

hostile('an empty parameter is 400; probes may add what they like', async () => {
  assert.is((await ask(server, 'GET', '/v1/backing-images?state=')).status, 400)
  assert.is((await ask(server, 'GET', '/v1/backing-images/ubuntu?state=')).status, 400)
  for (const path of ['/health', '/ready', '/metrics', '/openapi.json']) {
    assert.is((await ask(server, 'GET', `${path}?probe=1`)).status, 200, path)
  }
})

hostile('an id of the client is taken only when it is sane', async () => {
  for (const [given, isTaken] of [
    ['abc-1.2:3_4', true],
    ['x'.repeat(129), false],
    ['a b', false],
    ['<script>', false],
    ['', false],
  ] as const) {
    const { headers } = await ask(server, 'GET', '/health', { headers: { 'x-request-id': given } })
    assert.is(headers['x-request-id'] === given, isTaken, given)
    assert.ok(headers['x-request-id'])
  }
})

hostile.run()
