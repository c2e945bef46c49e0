import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { type Bytes, readAll } from '@backing-image/core'
import { rawImage } from '@backing-image/core/testing'
import { Form } from './multipart.ts'
import {
  type Serving,
  askJson,
  eventually,
  form,
  rejection,
  serving,
  wire,
} from './testing/serving.ts'

const multipart = suite('multipart')

let server: Serving
multipart.before.each(async () => {
  server = await serving()
})
multipart.after.each(async () => {
  await server.close()
})

const image = rawImage()
const path = '/v1/backing-images'
const name = { name: 'name', value: 'ubuntu' }
const file = { name: 'file', value: image, filename: 'u.img' }

multipart('a form is stored with all its fields', async () => {
  const { status, json, headers } = await askJson(
    server,
    'POST',
    path,
    form([
      name,
      { name: 'version', value: '24.04' },
      { name: 'label', value: 'os=linux' },
      { name: 'label', value: 'arch=amd64' },
      { name: 'size', value: String(image.length) },
      { name: 'minNumberOfCopies', value: '2' },
      file,
    ]),
  )
  assert.is(status, 201)
  assert.is(headers.location, json.links.self)
  assert.is(json.version, '24.04')
  assert.equal(json.labels, { os: 'linux', arch: 'amd64' })
  assert.is(json.size, image.length)
  const opened = await server.store.open('ubuntu')
  assert.equal(await readAll(await opened.read(), image.length), image)
})

const faults: Record<string, [Parameters<typeof form>[0], RegExp]> = {
  'no name': [[file], /no field "name" before "file"/],
  'name after file': [[file, name], /no field "name" before "file"/],
  'no file': [[name], /no field "file"/],
  'no field at all': [[], /no field "file"|broken/],
  'two names': [[name, name, file], /"name" comes twice/],
  'two versions': [
    [name, { name: 'version', value: '1' }, { name: 'version', value: '2' }, file],
    /"version" comes twice/,
  ],
  'two files': [[name, file, file], /two files/],
  'a field after the file': [
    [name, file, { name: 'version', value: '2' }],
    /"version" comes after/,
  ],
  'a label after the file': [[name, file, { name: 'label', value: 'a=b' }], /"label" comes after/],
  'an unknown field': [
    [name, { name: 'checksums', value: 'x' }, file],
    /unknown field "checksums"/,
  ],
  'a field without a name': [[name, { value: 'x' }, file], /unknown field ""/],
  'an empty file name': [[name, { ...file, filename: '' }], /empty file name/],
  'a bad name': [[{ name: 'name', value: '../x' }, file], /no image name/],
  'a bad version': [[name, { name: 'version', value: '..' }, file], /no version/],
  'a bad checksum': [[name, { name: 'checksum', value: 'abc' }, file], /sha512/],
  'a bad label': [[name, { name: 'label', value: 'abc' }, file], /key=value/],
  'a label twice': [
    [name, { name: 'label', value: 'a=b' }, { name: 'label', value: 'a=c' }, file],
    /label a is given twice/,
  ],
  'a wrong size': [[name, { name: 'size', value: '12' }, file], /12 bytes/],
  'a huge field': [
    [name, { name: 'version', value: 'x'.repeat(70_000) }, file],
    /over 65536 bytes/,
  ],
  'a thousand fields': [
    [name, ...Array.from({ length: 1000 }, () => ({ name: 'label', value: 'a=b' })), file],
    /over 100 fields/,
  ],
}

for (const [what, [parts, expected]] of Object.entries(faults)) {
  multipart(`${what}: 400 that says so, and nothing is stored`, async () => {
    const { status, json } = await askJson(server, 'POST', path, form(parts))
    assert.is(status, 400)
    assert.is(json.code, 'invalid_request')
    assert.match(json.detail, expected)
    assert.equal(await server.store.list(), [])
    const keys = await server.keys()
    assert.ok(
      keys.every((key) => key.startsWith('.marks/')),
      keys.join(' '),
    )
  })
}

multipart('a form that is broken is told from a client that left', async () => {
  const whole = form([name, file])
  for (const [body, expected] of [
    [whole.body.subarray(0, -20), /form is broken/],
    [whole.body.subarray(0, 30), /form is broken/],
    [Buffer.from('no form at all'), /form is broken/],
    [Buffer.alloc(0), /form is broken/],
  ] as const) {
    const { status, json } = await askJson(server, 'POST', path, { body, headers: whole.headers })
    assert.is(status, 400)
    assert.match(json.detail, expected)
  }
  for (const type of ['multipart/form-data', 'multipart/form-data; boundary=']) {
    const headers = { 'content-type': type }
    const { status, json } = await askJson(server, 'POST', path, { body: whole.body, headers })
    assert.is(status, 400)
    assert.match(json.detail, /boundary/)
  }
  assert.equal(await server.store.list(), [])
})

multipart('a client that leaves within the file leaves a failed image only', async () => {
  const { body } = form([name, file])
  const line = await wire(server)
  line.socket.write(
    `POST ${path} HTTP/1.1\r\nHost: here\r\nContent-Length: ${body.length}\r\n` +
      'Content-Type: multipart/form-data; boundary=xxBOUNDARYxx\r\n\r\n',
  )
  line.socket.write(body.subarray(0, 500_000))
  await eventually(async () => (await server.store.inFlight()).length === 1)
  line.socket.destroy()
  await eventually(async () => (await server.store.versions('ubuntu'))[0]?.state === 'failed')
  assert.match((await server.store.get('ubuntu')).message, /500000 of \d+ bytes had arrived/)
  assert.ok((await server.keys()).every((key) => !key.startsWith('ubuntu-')))
})

multipart(
  'the file ends only after the form: what is read before a fault is no image',
  async () => {
    const { body, headers } = form([name, file, { name: 'version', value: '2' }])
    const parsed = new Form(String(headers['content-type']), 2 ** 30)
    const fields = await parsed.read(slices(body, 1000))
    assert.equal(fields, { name: 'ubuntu' })
    let length = 0
    const error = await rejection(
      (async () => {
        for await (const chunk of parsed.file()) length += chunk.length
      })(),
    )
    assert.match(String(error), /"version" comes after the file/)
    assert.ok(length <= image.length)
  },
)

multipart('a reader that waits holds the sender: memory does not grow with the image', async () => {
  const { body, headers } = form([name, { ...file, value: rawImage(32 * 1024 * 1024) }])
  const parsed = new Form(String(headers['content-type']), 2 ** 30)
  let sent = 0
  const source = (async function* (): Bytes {
    for await (const chunk of slices(body, 65_536)) {
      sent += chunk.length
      yield chunk
    }
  })()
  await parsed.read(source)
  const reader = parsed.file()
  await reader.next()
  await new Promise((resolve) => setTimeout(resolve, 30))
  assert.ok(sent < 1024 * 1024, `${sent} bytes were taken`)
  parsed.stop()
})

multipart(
  'any cut of a form, in pieces of any size, ends: with its bytes or with an error',
  async () => {
    const small = rawImage(1000)
    const { body, headers } = form([name, { ...file, value: small }])
    const lengths = [...body.keys(), body.length]
    for (const length of lengths.filter((at) => at % 7 === 0 || at > body.length - 60)) {
      for (const piece of [1, 13, 4096]) {
        const parsed = new Form(String(headers['content-type']), 2 ** 30)
        const work = (async () => {
          await parsed.read(slices(body.subarray(0, length), piece))
          return await readAll(parsed.file())
        })()
        const got = await Promise.race([work.catch(() => undefined), late()])
        // The last line break is not part of the form.
        if (length >= body.length - 2) assert.equal(got, small)
        else assert.is(got, undefined, `cut after ${length} in pieces of ${piece}`)
      }
    }
  },
)

async function late(): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, 2000).unref())
  throw new Error('it hangs')
}

async function* slices(body: Uint8Array, size: number): Bytes {
  for (let at = 0; at < body.length; at += size) yield Buffer.from(body.subarray(at, at + size))
}

multipart.run()
