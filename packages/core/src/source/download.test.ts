// A download survives what servers and networks do to it, and what it yields is the content of one
// moment, whole: never a mix, never a short success.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Web } from '../testing/web.ts'
import { type Retry, openDownload } from './download.ts'
import { SourceError } from './failure.ts'
import type { Fetcher } from './fetcher.ts'
import { type Read, faults, localFetcher, readUrl } from './testing/reading.ts'

const tests = suite('download')

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

const content = randomBytes(1_000_000)

async function readsWhole(url: URL): Promise<Read> {
  const result = await readUrl(fetcher, url)
  if (result.error) throw result.error
  assert.ok(result.bytes.equals(content), `${result.bytes.length} bytes are not the content`)
  return result
}

async function failureOf(url: URL): Promise<SourceError> {
  const { error } = await readUrl(fetcher, url)
  assert.instance(error, SourceError)
  return error as SourceError
}

tests('the content comes as it is, however its end is told, and HEAD is not used', async () => {
  for (const framing of ['length', 'chunked', 'close'] as const) {
    const url = web.serve(`/${framing}`, content, { framing })
    const { retries } = await readsWhole(url)
    assert.is(retries.length, 0)
    const head = await openDownload(fetcher, { url })
    head.cancel()
    assert.is(head.size, framing === 'length' ? content.length : undefined)
    assert.match(head.validator ?? '', /^"[0-9a-f]+"$/)
    assert.is(head.offset, 0)
    assert.is(head.encoding, '')
  }
  assert.ok(web.requests.every(({ method }) => method === 'GET'))
  assert.ok(web.requests.every(({ headers }) => headers.range === undefined))
})

tests('an empty content is no failure', async () => {
  for (const framing of ['length', 'chunked', 'close'] as const) {
    const { bytes, error } = await readUrl(fetcher, web.serve('/empty', Buffer.of(), { framing }))
    assert.is(error, undefined)
    assert.is(bytes.length, 0)
  }
})

tests('a broken connection is gone on with where it was, as often as bytes come', async () => {
  for (const framing of ['length', 'chunked'] as const) {
    const cut = { cutAfterBytes: 100_000 }
    const options = { framing, ...faults(cut, cut, cut, cut, cut, cut) }
    const { retries } = await readsWhole(web.serve(`/${framing}`, content, options))
    assert.is(retries.length, 6, 'more than may fail in a row')
    assert.ok(retries.every(({ failures }) => failures === 1))
    const [first, second] = web.seen(`/${framing}`)
    assert.is(first?.headers.range, undefined)
    assert.is(first?.headers['if-range'], undefined)
    assert.is(second?.headers.range, `bytes=${retries[0]?.position}-`)
    assert.match(String(second?.headers['if-range']), /^"[0-9a-f]+"$/)
  }
})

tests('an answer that ends within its range counts as broken off', async () => {
  const short = { headers: { 'content-length': undefined }, endAfterBytes: 1000 }
  const url = web.serve('/short', content, faults({ cutAfterBytes: 1000 }, short))
  const { retries } = await readsWhole(url)
  assert.match(retries[1]?.error.message ?? '', 'it ended before all of its range had come')
})

tests('what does not come at once is asked for again after waits that grow', async () => {
  const busy = { status: 503 }
  const url = web.serve('/busy', content, faults(busy, busy, { cutAfterBytes: 0 }))
  const { bytes, retries, error } = await readUrl(fetcher, url, { retryDelaysMs: [1, 2, 3] })
  assert.is(error, undefined)
  assert.ok(bytes.equals(content))
  assert.equal(
    retries.map(({ delayMs, failures }) => [delayMs, failures]),
    [1, 2, 3].map((each) => [each, each]),
  )
  assert.is(retries[0]?.error.status, 503)
})

tests(
  'failures in a row end in an error that says how far it came, how often and why',
  async () => {
    const busy = { status: 503 }
    const page = faults({ cutAfterBytes: 70_000 }, busy, busy, busy, busy, busy)
    const { retries, error } = await readUrl(fetcher, web.serve('/busy', content, page), {
      retryDelaysMs: [1, 2, 3],
    })
    assert.instance(error, SourceError)
    assert.is((error as SourceError).isTransient, false)
    assert.is(web.seen('/busy').length, 4)
    const { position } = retries.at(-1) ?? {}
    assert.ok(position !== undefined && position > 0)
    const said = `was given up at ${position} of 1000000 bytes: 4 times in a row not a byte came`
    assert.match(String(error), said)
    assert.match(String(error), 'it answered 503 Service Unavailable.')
  },
)

tests('Retry-After is kept to, in both forms, up to five minutes', async () => {
  const inTwoMinutes = new Date(Date.now() + 120_000).toUTCString()
  for (const [value, leastMs, mostMs] of [
    ['7', 7_000, 7_000],
    ['0', 500, 500],
    ['86400', 300_000, 300_000],
    [inTwoMinutes, 1_000, 120_000],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 500, 500],
    ['soon', 500, 500],
  ] as const) {
    const headers = { 'retry-after': value }
    const url = web.serve('/limit', content, faults({ status: 429, headers }))
    const caller = new AbortController()
    const retries: Retry[] = []
    const onRetry = (retry: Retry): void => {
      retries.push(retry)
      caller.abort(new Error('enough'))
    }
    const { signal } = caller
    const { error } = await readUrl(fetcher, url, {
      signal,
      onRetry,
      retryDelaysMs: [500],
    })
    assert.is(error, signal.reason)
    const { delayMs = 0 } = retries[0] ?? {}
    assert.ok(delayMs >= leastMs && delayMs <= mostMs, `${value}: ${delayMs}`)
  }
})

tests('what will not go away by itself is not asked for again', async () => {
  for (const status of [400, 401, 403, 404, 405, 410, 416, 451]) {
    const error = await failureOf(web.serve('/gone', content, faults({ status })))
    assert.is(error.status, status)
    assert.is(error.isTransient, false)
    assert.match(error.message, String(status))
  }
  for (const status of [204, 206]) {
    const error = await failureOf(web.serve('/odd', content, faults({ status })))
    assert.match(error.message, `answered ${status} instead of 200`)
  }
  assert.is(web.requests.length, 10)
})

tests('an abort ends it with its reason, while bytes come and while it waits', async () => {
  for (const [path, fault] of [
    ['/stalls', { stallAfterBytes: 1000 }],
    ['/busy', { status: 503 }],
    ['/silent', { isSilent: true }],
  ] as const) {
    const caller = new AbortController()
    const url = web.serve(path, content, faults(fault))
    const reading = readUrl(fetcher, url, { signal: caller.signal, retryDelaysMs: [100_000] })
    const early = new Error(`gone from ${path}`)
    setTimeout(() => caller.abort(early), 50)
    assert.is((await reading).error, early)
  }
})

tests('who leaves early, or never begins, breaks the connection', async () => {
  for (const leave of ['break', 'cancel'] as const) {
    let closed: Promise<unknown> | undefined
    const url = web.on('/endless', (_, response) => {
      closed = once(response, 'close')
      response.writeHead(200, { 'content-length': String(2 ** 40) })
      response.write(Buffer.alloc(100_000))
    })
    const download = await openDownload(fetcher, { url })
    if (leave === 'cancel') download.cancel()
    else for await (const chunk of download.bytes) if (chunk.length > 0) break
    await closed
    assert.is(web.requests.length, leave === 'break' ? 1 : 2)
    for await (const chunk of download.bytes) assert.unreachable(`${chunk.length} bytes more`)
  }
})

tests(
  'the first try after a break goes where the redirect had led, the next does not',
  async () => {
    const cut = { cutAfterBytes: 100_000 }
    const mirror = web.serve('/mirror', content, faults(cut, cut, { status: 503 }))
    const { retries } = await readsWhole(web.redirect('/image', mirror))
    assert.is(retries.length, 3)
    assert.equal(
      web.requests.map(({ path }) => path),
      ['/image', '/mirror', '/mirror', '/mirror', '/image', '/mirror'],
    )
  },
)

tests('a link behind a redirect that has expired is asked for anew', async () => {
  const link = web.serve('/link', content, faults({ cutAfterBytes: 100_000 }, { status: 403 }))
  const { retries } = await readsWhole(web.redirect('/image', `${link.href}?sig=1`))
  assert.is(retries.length, 1)
  assert.is(web.seen('/image').length, 2)
})

tests('no secret of a URL is in an error', async () => {
  const secret = 'sEcReT'
  const pages = [
    web.serve('/denied', content, faults({ status: 403 })),
    web.serve('/busy', content, { fault: () => ({ status: 503 }) }),
    web.serve('/cut', content, { etag: null, ...faults({ cutAfterBytes: 1000 }) }),
    web.serve('/packed', content, faults({ headers: { 'content-encoding': 'br' } })),
    web.serve('/nowhere', content, faults({ status: 302 })),
    web.redirect('/loop', `/loop?X-Amz-Signature=${secret}`),
    web.redirect('/away', `http://169.254.169.254/?X-Amz-Signature=${secret}`),
  ]
  for (const url of pages) {
    url.search = `?X-Amz-Signature=${secret}&${secret}`
    const { error, retries } = await readUrl(fetcher, url)
    assert.ok(error instanceof Error)
    for (const each of [error, error.cause, ...retries.map((retry) => retry.error)]) {
      assert.not.match(String(each), secret)
    }
    assert.match(error.message, `${url.pathname}?X-Amz-Signature=REDACTED`)
  }
})

tests.run()
