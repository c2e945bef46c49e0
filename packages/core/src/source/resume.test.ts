// A download goes on only with the very content that it began with; for everything else it says
// that all must be read again.

import { randomBytes } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type PageOptions, Web, type WebFault } from '../testing/web.ts'
import { SourceChanged, SourceError } from './failure.ts'
import type { Fetcher } from './fetcher.ts'
import { type Read, faults, localFetcher, readUrl } from './testing/reading.ts'

const tests = suite('resume')

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

const content = randomBytes(300_000)
const size = content.length
const cut = { cutAfterBytes: 100_000 }

/** What comes of a download whose first answer breaks off, the second having that fault. */
async function afterBreak(second: WebFault, options: PageOptions = {}): Promise<Read> {
  const url = web.serve('/image', content, { ...faults(cut, second), ...options })
  const result = await readUrl(fetcher, url)
  assert.ok(result.bytes.equals(content.subarray(0, result.bytes.length)), 'two contents are mixed')
  return result
}

function startsAgain({ bytes, error }: Read): SourceChanged {
  assert.instance(error, SourceChanged, String(error))
  assert.ok(bytes.length > 0 && bytes.length < size)
  return error as SourceChanged
}

tests('another ETag, length, date or encoding is another content', async () => {
  const lastModified = 'Wed, 01 Jan 2025 00:00:00 GMT'
  const shorter = { 'content-range': `bytes 100000-${size - 2}/${size - 1}` }
  const later = { 'last-modified': 'Wed, 01 Jan 2025 00:00:01 GMT' }
  for (const [headers, what] of [
    [{ etag: '"other"' }, 'its ETag was'],
    [{ ...shorter, 'content-length': undefined }, `its length was ${size} and is ${size - 1}`],
    [later, 'its date was "Wed, 01 Jan 2025 00:00:00 GMT" and is'],
    [{ 'content-encoding': 'gzip' }, 'its encoding was "" and is "gzip"'],
  ] as const) {
    const error = startsAgain(await afterBreak({ headers }, { lastModified }))
    assert.match(error.message, what)
    assert.is(error.hasChanged, true)
  }
})

tests('a server that sends everything is not gone on with, changed or not', async () => {
  const same = startsAgain(await afterBreak({ ignoresRange: true }))
  assert.is(same.hasChanged, false)
  assert.match(same.message, 'does not go on from the middle')
  const other = startsAgain(await afterBreak({ ignoresRange: true, body: randomBytes(size) }))
  assert.is(other.hasChanged, true)
  const longer = { headers: { etag: undefined }, ignoresRange: true, body: randomBytes(size + 1) }
  assert.is(startsAgain(await afterBreak(longer)).hasChanged, true)
})

tests(
  'If-Range keeps contents of one length apart, and so does an ETag that is missing',
  async () => {
    const other = randomBytes(size)
    const hidden = { body: other, headers: { etag: undefined } }
    assert.is(startsAgain(await afterBreak(hidden)).hasChanged, false)
    assert.match(String(web.seen('/image')[1]?.headers['if-range']), /^"/)
    // A 206 has the ETag that a 200 would have (RFC 9110 §15.3.7).
    const mixed = startsAgain(await afterBreak({ ...hidden, ignoresCondition: true }))
    assert.is(mixed.hasChanged, true)
    assert.match(mixed.message, /its ETag was ".*" and is missing/)
  },
)

tests('a date that was the validator must come again, with or without an ETag', async () => {
  const lastModified = new Date(Date.now() - 3_600_000).toUTCString()
  const page = { etag: null, lastModified }
  const headers = { 'last-modified': undefined }
  const dateless = { ignoresCondition: true, body: randomBytes(size), headers }
  const error = startsAgain(await afterBreak(dateless, page))
  assert.is(error.hasChanged, true)
  assert.match(error.message, 'its date was')
  const tagged = { ...dateless, headers: { ...headers, etag: '"new"' } }
  startsAgain(await afterBreak(tagged, page))
  // Beside an ETag it may be left out of a 206.
  const beside = await afterBreak({ headers }, { lastModified })
  assert.is(beside.error, undefined)
  assert.ok(beside.bytes.equals(content))
})

tests('a range that is not the one that was asked for is refused', async () => {
  const wrong = (field: string | undefined): WebFault => ({ headers: { 'content-range': field } })
  for (const field of [
    undefined,
    '',
    `bytes 0-${size - 1}/${size}`,
    `bytes 1-${size - 1}/${size}`,
    `bytes 99999999999999999999-${size - 1}/${size}`,
    `bytes */${size}`,
    `items 100000-${size - 1}/${size}`,
    `bytes 100000-${size - 1}`,
    'multipart/byteranges',
  ]) {
    const error = startsAgain(await afterBreak(wrong(field)))
    assert.is(error.hasChanged, false)
    assert.match(error.message, 'it was asked for bytes=')
  }
})

tests('a range may be shorter than asked for, and is never longer than it says', async () => {
  const parts = (end: (start: number) => number, bytesMax?: number) =>
    web.on('/parts', ({ headers }, response) => {
      const [, asked] = /^bytes=([0-9]+)-$/.exec(headers.range ?? '') ?? []
      const start = Number(asked ?? 0)
      if (asked === undefined) {
        response.writeHead(200, { etag: '"a"', 'content-length': size })
        response.write(content.subarray(0, 1000), () => response.destroy())
        return
      }
      const last = Math.min(end(start), size - 1)
      response.writeHead(206, { etag: '"a"', 'content-range': `bytes ${start}-${last}/${size}` })
      response.end(content.subarray(start, bytesMax === undefined ? last + 1 : start + bytesMax))
    })
  const { bytes, error, retries } = await readUrl(
    fetcher,
    parts((start) => start + 99_999),
  )
  assert.is(error, undefined)
  assert.ok(bytes.equals(content))
  assert.is(retries.length, 1, 'only the first was broken off')
  const long = await readUrl(
    fetcher,
    parts((start) => start + 999, 1001),
  )
  assert.match(startsAgain(long).message, 'sent more bytes than its Content-Range says')
  assert.ok(content.subarray(0, long.bytes.length).equals(long.bytes))
  const beyond = await readUrl(fetcher, web.serve('/beyond', content, beyondTheEnd()))
  assert.match(startsAgain(beyond).message, 'it was asked for')
})

function beyondTheEnd(): PageOptions {
  const headers = { 'content-range': `bytes 100000-${size}/*`, 'content-length': undefined }
  return { fault: (count) => (count === 1 ? cut : { headers }) }
}

tests(
  'what was cut at its very end is whole when the server says that nothing follows',
  async () => {
    const all = { cutAfterBytes: size }
    const url = web.serve('/image', content, { framing: 'chunked', ...faults(all) })
    const { bytes, error, retries } = await readUrl(fetcher, url)
    assert.is(error, undefined)
    assert.ok(bytes.equals(content))
    assert.is(retries.length, 1)
    assert.is(web.seen('/image')[1]?.headers.range, `bytes=${size}-`)
  },
)

tests('a server that has nothing further, but not all came, is another content', async () => {
  const all = { cutAfterBytes: size }
  for (const field of [`bytes */${size + 1}`, `bytes */${size - 1}`, 'bytes */*', undefined]) {
    const headers = { 'content-range': field }
    const page = { framing: 'chunked', ...faults(all, { headers }) } as const
    const { error } = await readUrl(fetcher, web.serve('/image', content, page))
    assert.instance(error, SourceChanged)
    assert.match(String(error), 'has nothing from there on')
  }
  const etag = { headers: { etag: '"other"' } }
  const page = { framing: 'chunked', ...faults(all, etag) } as const
  const { error } = await readUrl(fetcher, web.serve('/image', content, page))
  assert.match(String(error), 'its ETag was')
})

tests('a length that is not told at first is learned, and kept to', async () => {
  const url = web.on('/image', ({ headers }, response) => {
    const [, asked] = /^bytes=([0-9]+)-$/.exec(headers.range ?? '') ?? []
    const start = Number(asked ?? 0)
    if (start === size) {
      response.writeHead(416, { 'content-range': `bytes */${size}` }).end()
      return
    }
    const end = Math.min(start + 100_000, size)
    const range = { 'content-range': `bytes ${start}-${end - 1}/*` }
    response.writeHead(asked ? 206 : 200, { etag: '"a"', ...(asked ? range : {}) })
    const last = (): unknown => (asked ? response.end() : response.destroy())
    response.write(content.subarray(start, end), last)
  })
  const { bytes, error } = await readUrl(fetcher, url)
  assert.is(error, undefined)
  assert.ok(bytes.equals(content), 'it ended with a range whose total was not told')
  const lying = { ...cut, headers: { 'content-range': `bytes 100000-${size - 1}/${size + 5}` } }
  const page = { framing: 'chunked', ...faults(cut, lying) } as const
  const { error: late } = await readUrl(fetcher, web.serve('/image', content, page))
  assert.instance(late, SourceChanged)
})

tests(
  'without a validator a break after the first byte starts again, one before does not',
  async () => {
    const settled = 'Wed, 01 Jan 2025 00:00:00 GMT'
    const now = new Date().toUTCString()
    const none: PageOptions[] = [
      { etag: null },
      { etag: 'W/"weak"' },
      { etag: 'unquoted' },
      // The date is no stand-in for an ETag that is there (RFC 9110 §13.1.5).
      { etag: 'W/"weak"', lastModified: settled },
      { etag: null, lastModified: now },
      { etag: null, lastModified: 'yesterday' },
    ]
    for (const options of none) {
      const first = web.serve('/image', content, { ...options, ...faults({ cutAfterBytes: 0 }) })
      const { bytes } = await readUrl(fetcher, first)
      assert.ok(bytes.equals(content), JSON.stringify(options))
      const before = web.requests.length
      const error = startsAgain(await afterBreak({}, options))
      assert.is(error.hasChanged, false)
      assert.match(error.message, 'neither a strong ETag nor a date to ask with')
      assert.instance(error.cause, SourceError)
      assert.is(web.requests.length, before + 1)
    }
  },
)

tests('a date is a validator when it is a minute older than the answer', async () => {
  const lastModified = new Date(Date.now() - 3_600_000).toUTCString()
  const { bytes, error } = await afterBreak({}, { etag: null, lastModified })
  assert.is(error, undefined)
  assert.ok(bytes.equals(content))
  assert.is(web.seen('/image')[1]?.headers['if-range'], lastModified)
  const packed = { ...cut, headers: { 'content-encoding': 'gzip' } }
  const page = { etag: null, lastModified, ...faults(packed) }
  startsAgain(await readUrl(fetcher, web.serve('/packed', content, page)))
})

tests('what was announced before the first byte is kept to', async () => {
  const other = randomBytes(size - 1)
  const short = { body: other, headers: { etag: '"a"', 'content-length': undefined } }
  for (const [etag, later] of [
    ['"a"', { body: other, headers: { etag: '"b"' } }],
    [null, { body: other }],
    ['"a"', short],
  ] as const) {
    const page = { etag, ...faults({ cutAfterBytes: 0 }, later, later) }
    const { error } = await readUrl(fetcher, web.serve('/image', content, page))
    assert.instance(error, SourceChanged, String(error))
    assert.is((error as SourceChanged).hasChanged, true)
  }
})

tests.run()
