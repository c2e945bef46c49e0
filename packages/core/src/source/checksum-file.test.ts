// The checksum of an image is found in what publishers put beside it, in their formats; what is
// ambiguous, or not there, is said.

import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { isImageError } from '../errors.ts'
import { Web } from '../testing/web.ts'
import { type ChecksumRequest, fetchChecksum, findChecksum } from './checksum-file.ts'
import { SourceChanged } from './failure.ts'
import type { Fetcher } from './fetcher.ts'
import { checksumFiles, digestOf } from './testing/checksum-files.ts'
import { faults, localFetcher } from './testing/reading.ts'

const tests = suite('checksum file')

const a256 = digestOf('sha256', 'a')
const a512 = digestOf('sha512', 'a')
const b256 = digestOf('sha256', 'b')

for (const { origin, text, finds } of checksumFiles) {
  tests(`what is listed is found: ${origin}`, () => {
    const crlf = text.replaceAll('\n', '\r\n')
    for (const each of [text, crlf, `\uFEFF${crlf}`, text.trimEnd(), text.toUpperCase()]) {
      for (const [name, checksum] of Object.entries(finds)) {
        const sought = each === text.toUpperCase() ? name.toUpperCase() : name
        assert.is(findChecksum(each, [sought]), checksum)
        assert.is(findChecksum(each, ['no such name.img', sought]), checksum)
      }
    }
  })
}

tests('what is not listed is not found', () => {
  for (const text of [
    '',
    '\n',
    '<!DOCTYPE html><html><body>404 Not Found</body></html>',
    `${a256}  b.img\n${b256}  c.img\n`,
    `${a256}  a.img.sig\n${b256}  xa.img\n`,
    `${a256}  A.IMG\n${b256}  b.img\n`,
    `# ${a256}  a.img\n`,
    `${a256}a.img\n${b256}  b.img\n${b256}  c.img\n`,
    `${a256.slice(1)}  a.img\n`,
    `${a256}0  a.img\n`,
    `SHA384 (a.img) = ${a256}${a256.slice(0, 32)}\n`,
    `${a256}${a256.slice(0, 32)}  a.img\n`,
    `SHA512 (a.img) = ${a256}\n`,
    `BLAKE2b (a.img) = ${a512}\n`,
    `SHA256 (a.img) = ${a256} \u0000\n`,
  ]) {
    assert.is(findChecksum(text, ['a.img']), undefined, text)
  }
  assert.is(findChecksum(`${a256}  a.img\n${b256}  b.img\n`, []), undefined)
})

tests('the strongest of several algorithms counts', () => {
  const md5 = `MD5 (a.img) = ${digestOf('md5', 'a')}\n`
  const sha1 = `SHA1 (a.img) = ${digestOf('sha1', 'a')}\n`
  const sha256 = `SHA256 (a.img) = ${a256}\n`
  const sha512 = `SHA512 (a.img) = ${a512}\n`
  assert.is(findChecksum(md5 + sha1, ['a.img']), `sha1:${digestOf('sha1', 'a')}`)
  assert.is(findChecksum(sha256 + md5 + sha1, ['a.img']), `sha256:${a256}`)
  assert.is(findChecksum(md5 + sha256 + sha512 + sha1, ['a.img']), `sha512:${a512}`)
  assert.is(findChecksum(`${a512}  b.img\n${sha256}`, ['a.img']), `sha256:${a256}`)
  assert.is(findChecksum(sha256 + sha512, ['other.img']), `sha512:${a512}`, 'of one file alone')
})

tests('a digest that stands alone counts, whatever it is called', () => {
  for (const text of [
    a256,
    `${a256}\n`,
    `\r\n${a256.toUpperCase()} \r\n`,
    `sha256:${a256}`,
    `${a256}  -\n`,
    `${a256}  ./build/out.qcow2`,
    `${a256} *out.qcow2`,
    `${a256}\tout.qcow2`,
  ]) {
    assert.is(findChecksum(text, ['a.img']), `sha256:${a256}`, JSON.stringify(text))
  }
  assert.is(findChecksum(`${a256}\n${a512}\n`, ['a.img']), `sha512:${a512}`)
  assert.is(findChecksum(`${a256}\n${b256}  b.img\n`, ['a.img']), undefined)
})

tests('two digests of one algorithm for one name are refused, the same one twice is not', () => {
  for (const [text, names] of [
    [`${a256}  a.img\n${b256}  a.img\n`, ['a.img']],
    [`${a256}  a.img\nSHA256 (a.img) = ${b256}\n`, ['a.img']],
    [`${a256}  a.img\n${b256} *./a.img\n${a512}  a.img\n`, ['a.img']],
    [`${a256}  x/a.img\n${b256}  y/a.img\n`, ['a.img']],
    [`${a256}\n${b256}\n`, ['a.img']],
    [`${a256}  b.img\n${b256}  b.img\n`, ['a.img']],
  ] as const) {
    try {
      findChecksum(text, names)
      assert.unreachable(text)
    } catch (error) {
      assert.ok(isImageError(error, 'invalid_argument'), String(error))
      assert.match(error.message, 'two different digests')
      assert.match(error.message, a256)
    }
  }
  assert.is(findChecksum(`${a256}  a.img\n`.repeat(2), ['a.img']), `sha256:${a256}`)
  const folders = `${a256}  x/a.img\n${b256}  y/a.img\n`
  assert.is(findChecksum(folders, ['y/a.img']), `sha256:${b256}`)
  assert.is(findChecksum(`${folders}${b256}  a.img\n`, ['a.img']), `sha256:${b256}`)
})

tests('the first of several names that is listed counts', () => {
  const text = `${a256}  a.img\n${b256}  b.img\n`
  assert.is(findChecksum(text, ['x.img', 'b.img', 'a.img']), `sha256:${b256}`)
  const folder = `${a256}  x/a.img\n${b256}  b.img\n`
  assert.is(
    findChecksum(folder, ['a.img', 'b.img']),
    `sha256:${b256}`,
    'a whole name before a part',
  )
})

tests('names with blanks, parentheses and escapes are read as they are', () => {
  const odd = 'my (1) image = a.img'
  assert.is(findChecksum(`${a256}  ${odd}\n${b256}  b`, [odd]), `sha256:${a256}`)
  assert.is(findChecksum(`SHA256 (${odd}) = ${a256}\n${b256}  b`, [odd]), `sha256:${a256}`)
  const escaped = 'back\\\\slash\\nline.img'
  const name = 'back\\slash\nline.img'
  assert.is(findChecksum(`\\${a256}  ${escaped}\n${b256}  b`, [name]), `sha256:${a256}`)
  assert.is(findChecksum(`\\SHA256 (${escaped}) = ${a256}\n${b256}  b`, [name]), `sha256:${a256}`)
  assert.is(findChecksum(`${a256}  ${escaped}\n${b256}  b`, [name]), undefined, 'it is not escaped')
})

tests('only what is inside a signed message is read', () => {
  const text = `${b256}  a.img
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

- ${a256}  a.img
${b256}  b.img
-----BEGIN PGP SIGNATURE-----

${b256}
=abcd
-----END PGP SIGNATURE-----
${b256}  a.img
`
  assert.is(findChecksum(text, ['a.img']), `sha256:${a256}`)
})

let web: Web
let fetcher: Fetcher
tests.before.each(async () => {
  web = await Web.start()
  fetcher = localFetcher()
})
tests.after.each(async () => {
  fetcher.close()
  await web.stop()
})

const sums = Buffer.from(`${a256}  a.img\n${b256}  b.img\n`)

async function fetched(url: URL, more: Partial<ChecksumRequest> = {}): Promise<string> {
  const request = { url, fileNames: ['a.img'], retryDelaysMs: [1, 1, 1], ...more }
  return await fetchChecksum(fetcher, request)
}

async function failureOf(work: Promise<string>, message: string | RegExp): Promise<void> {
  const error = await work.then(assert.unreachable, (thrown: unknown) => thrown)
  assert.ok(isImageError(error, 'invalid_argument'), String(error))
  assert.match(error.message, message)
}

tests('a checksum file is read with the retries of a download', async () => {
  const busy = { status: 503 }
  const url = web.serve('/SHA256SUMS', sums, faults(busy, { cutAfterBytes: 30 }, busy))
  assert.is(await fetched(url), `sha256:${a256}`)
  assert.is(web.requests.length, 4)
  // It can not be gone on with, but begun again.
  const cut = { cutAfterBytes: 30 }
  const plain = web.serve('/plain', sums, { etag: null, ...faults(cut, cut) })
  assert.is(await fetched(plain), `sha256:${a256}`)
  const changing = web.serve('/changing', sums, { etag: null, fault: () => cut })
  const error = await fetched(changing).then(assert.unreachable, (thrown: unknown) => thrown)
  assert.instance(error, SourceChanged)
  assert.is(web.seen('/changing').length, 5)
})

tests('a checksum file may be packed on its way', async () => {
  const headers = { 'content-encoding': 'gzip' }
  const packed = gzipSync(sums)
  assert.is(await fetched(web.serve('/a', packed, faults({ headers }))), `sha256:${a256}`)
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024))
  const bombed = web.serve('/b', bomb, faults({ headers }))
  await failureOf(fetched(bombed), '/b can not be unpacked to at most 1048576 bytes')
  await failureOf(fetched(web.serve('/c', sums, faults({ headers }))), 'can not be unpacked')
})

tests('what is over 1 MiB is no checksum file', async () => {
  const least = Buffer.alloc(1024 * 1024, `${a256}  a.img\n`)
  for (const framing of ['length', 'chunked'] as const) {
    assert.is(await fetched(web.serve('/most', least, { framing })), `sha256:${a256}`)
    const large = web.serve('/large', Buffer.concat([least, Buffer.of(10)]), { framing })
    await failureOf(fetched(large), '/large is over 1048576 bytes: that is no checksum file')
  }
})

tests('a name that is not listed is named, with some that are, and no secret', async () => {
  const url = web.serve('/SUMS', sums)
  url.search = '?sig=secret'
  const fileNames = ['x.img', 'y.img']
  const message = `http://127.0.0.1:${web.port}/SUMS?sig=REDACTED does not list "x.img" or "y.img".`
  await failureOf(fetched(url, { fileNames }), message)
  await failureOf(fetched(url, { fileNames }), 'It lists "a.img", "b.img". Name another file')
  const many = Array.from({ length: 100 }, (_, index) => `${a256}  ${index}.img\n`).join('')
  const long = web.serve('/many', Buffer.from(many))
  await failureOf(
    fetched(long),
    'It lists "0.img", "1.img", "2.img", "3.img", "4.img" and 95 more.',
  )
  const page = web.serve('/page', Buffer.from('<html>log in</html>'))
  await failureOf(fetched(page), 'It lists no checksum at all.')
  await failureOf(fetched(web.url('/none')), 'it answered 404 Not Found')
})

tests('the credential goes with it', async () => {
  const credential = { headers: { authorization: 'secret' }, hosts: ['127.0.0.1'] }
  assert.is(await fetched(web.serve('/SUMS', sums), { credential }), `sha256:${a256}`)
  assert.is(web.requests[0]?.headers.authorization, 'secret')
})

tests.run()
