import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { type Bytes, readAll } from '@backing-image/core'
import { rawImage } from '@backing-image/core/testing'
import { FormFrame } from './form-frame.ts'
import { Form } from './multipart.ts'
import { type Serving, askJson, rejection, serving } from './testing/serving.ts'

const frame = suite('form-frame')

let server: Serving
frame.before.each(async () => {
  server = await serving()
})
frame.after.each(async () => {
  await server.close()
})

const image = rawImage(2000)
const b = '--BOUND'
const name = `${b}\r\nContent-Disposition: form-data; name="name"\r\n\r\nubuntu\r\n`
const fileHead = 'Content-Disposition: form-data; name="file"; filename="u.img"\r\n'
const file = `${b}\r\n${fileHead}\r\n\0`
const second = 'Content-Disposition: form-data; name="label"\r\n'

/** A NUL stands for the image. */
function bytesOf(text: string): Buffer {
  const pieces = text.split('\0').flatMap((piece) => [Buffer.from(image), Buffer.from(piece)])
  return Buffer.concat(pieces.slice(1))
}

const whole = `${name}${file}\r\n${b}--\r\n`
const before = (part: string) => `${name}${b}${part}\r\n${file}\r\n${b}--\r\n`
const after = (part: string) => `${name}${file}\r\n${b}${part}\r\n${b}--\r\n`
const long = 'x'.repeat(100_000)

const faults: Record<string, string> = {
  'a part without headers': before('\r\n\r\nx'),
  'a part without Content-Disposition': before('\r\nContent-Type: text/plain\r\n\r\nx'),
  'a part that is an attachment': before('\r\nContent-Disposition: attachment; name="a"\r\n\r\nx'),
  'a part with two dispositions': before(`\r\n${second}${second}\r\nos=linux`),
  'a header that is none': before(`\r\n${second}nothing\r\n\r\nos=linux`),
  'a header line ended by LF': before(`\r\nX: a\n${second}\r\nos=linux`),
  'a folded header': before(`\r\n${second} ; x=y\r\n\r\nos=linux`),
  'a header of 100 kB': before(`\r\nX: ${long}\r\n${second}\r\nos=linux`),
  '40 headers': before(`\r\n${'X: a\r\n'.repeat(40)}${second}\r\nos=linux`),
  'a base64 part': before(`\r\n${second}Content-Transfer-Encoding: base64\r\n\r\nos=linux`),
  'a part that ends within its headers': before(`\r\n${second}`),
  'a part that ends before its blank line is over': before(`\r\n${second.slice(0, -2)}\r\n`),
  'an empty part': before(''),
  'an empty part with its line break': before('\r\n'),
  'an empty part behind the file': after('\r\n'),
  'a line break within the name': before(
    "\r\nContent-Disposition: form-data; name*=utf-8''la%0Abel\r\n\r\na=b",
  ),
  'a second file with a header of 100 kB': after(`\r\n${fileHead}X: ${long}\r\n\r\nx`),
  'a second file without disposition': after('\r\nContent-Type: text/plain\r\n\r\nx'),
  'a file without disposition': `${name}${b}\r\nContent-Type: text/plain\r\n\r\n\0\r\n${b}--\r\n`,
  'a boundary with more behind it': after('Xzzz\r\n\r\nx'),
  'a boundary with one dash behind it': after('-zzz\r\n\r\nx'),
  'a boundary with a blank behind it': after(` \r\n${second}\r\nos=linux`),
  'a boundary with only LF': after(`\n${second}\r\nos=linux`),
  'more behind the closing boundary': after('--zzz'),
  'a part behind the closing boundary': after(`--\r\n${b}\r\n${second}\r\nos=linux`),
  'a preamble': `hello\r\n${whole}`,
  'a first boundary ended by LF': whole.replace('\r\n', '\n'),
  'no closing boundary': `${name}${file}\r\n${b}`,
  'half a closing boundary': `${name}${file}\r\n${b}-`,
}

for (const [what, text] of Object.entries(faults)) {
  frame(`${what}: 400, and nothing is stored`, async () => {
    const body = bytesOf(text)
    const headers = { 'content-type': 'multipart/form-data; boundary=BOUND' }
    const { status, json } = await askJson(server, 'POST', '/v1/backing-images', { body, headers })
    assert.is(status, 400, json.state)
    assert.is(json.code, 'invalid_request')
    assert.match(json.detail, /The form is broken/)
    assert.equal(await server.store.list(), [])
    const keys = await server.keys()
    assert.ok(!keys.some((key) => key.startsWith('ubuntu-')), keys.join(' '))
    for (const size of [1, 7]) {
      const error = await rejection(parse(body, size))
      assert.match(String(error), /The form is broken/, `in pieces of ${size}`)
    }
  })
}

frame(
  'a right form passes, however it is cut, with what looks nearly like a boundary',
  async () => {
    const near = Buffer.from(`\r\n--BOUN\r\r\n\r\n--BOUN\n${b}\r\n-${b}--\r\n\r`)
    const small = Buffer.concat([near, rawImage(700), near])
    for (const text of [whole, `\r\n${whole}`, whole.slice(0, -2), `${whole}\r\n \t`]) {
      const [head = '', tail = ''] = text.split('\0')
      const body = Buffer.concat([Buffer.from(head), small, Buffer.from(tail)])
      for (let size = 1; size < 80; size += 1) {
        assert.equal(Buffer.from(await parse(body, size)), small, `in pieces of ${size}`)
      }
    }
  },
)

frame('the frame counts parts, empty ones too, and holds on to no bytes of a file', () => {
  const watched = new FormFrame('BOUND')
  watched.push(Buffer.from(`${name}${b}\r\n${second}\r\n\r\n${b}\r\n${fileHead}\r\n`))
  const begin = Date.now()
  const chunk = Buffer.alloc(65_536, '\r')
  for (let count = 0; count < 1000; count += 1) watched.push(chunk)
  assert.ok(Date.now() - begin < 2000)
  assert.throws(() => watched.end(), /closing boundary/)
  watched.push(Buffer.from(`\r\n${b}--`))
  watched.end()
  assert.is(watched.parts, 3)
})

async function parse(body: Buffer, size: number): Promise<Uint8Array> {
  const parsed = new Form('multipart/form-data; boundary=BOUND', 2 ** 30)
  await parsed.read(slices(body, size))
  return await readAll(parsed.file())
}

async function* slices(body: Buffer, size: number): Bytes {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size)
}

frame.run()
