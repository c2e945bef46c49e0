// Requests that go through a proxy: to which, in which form, and what stays forbidden.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { isImageError } from '../errors.ts'
import { localCertificate } from '../testing/certificates.ts'
import { WebProxy, type WebProxyOptions } from '../testing/web-proxy.ts'
import { Web } from '../testing/web.ts'
import { AddressRules } from './address-rules.ts'
import type { Fetcher, FetcherOptions } from './fetcher.ts'
import { proxyFor } from './proxy.ts'
import { assertFailure, withFetcher } from './testing/reading.ts'

const tests = suite('proxy')

tests('NO_PROXY names hosts, suffixes and ports', () => {
  const through = (url: string, no?: string): string | undefined =>
    proxyFor(new URL(url), { http: 'http://p:1', https: 'http://p:2', no })
  assert.is(through('http://s3.example.org'), 'http://p:1')
  assert.is(through('https://s3.example.org'), 'http://p:2')
  for (const no of ['*', 'example.org', '.example.org', '*.example.org', 'x, S3.EXAMPLE.ORG']) {
    assert.is(through('http://s3.example.org', no), undefined, no)
  }
  assert.is(through('https://s3.example.org', 's3.example.org:443'), undefined)
  for (const no of ['', ',', 'ample.org', 's3.example.org:81', 's3', 'x.s3.example.org']) {
    assert.is(through('http://s3.example.org', no), 'http://p:1', no)
  }
})

tests('NO_PROXY names addresses and networks', () => {
  const through = (url: string, no: string): string | undefined =>
    proxyFor(new URL(url), { http: 'http://p:1', no })
  for (const no of ['10.1.2.3', '10.0.0.0/8', 'a,10.1.2.3:80', '0.0.0.0/0']) {
    assert.is(through('http://10.1.2.3', no), undefined, no)
  }
  for (const no of ['10.1.2.4', '11.0.0.0/8', '10.1.2.3:81', '10.0.0.0/33', '::/0']) {
    assert.is(through('http://10.1.2.3', no), 'http://p:1', no)
  }
  for (const no of ['fd00::1', '[fd00::1]', 'FD00::/8', '[fd00::1]:80']) {
    assert.is(through('http://[fd00::1]', no), undefined, no)
  }
  assert.is(through('http://[fd00::1]', 'fd01::/16'), 'http://p:1')
  assert.is(through('http://example.org', '0.0.0.0/0'), 'http://p:1', 'a name is no address')
})

const content = Buffer.alloc(300_000, 'content')
const basic = `Basic ${Buffer.from('user:pass word').toString('base64')}`
const { cert } = localCertificate

/** A web server, a proxy, and a fetcher that uses it for both schemes. */
async function byProxy(
  options: { isSecure: boolean; proxy?: WebProxyOptions; fetcher?: Partial<FetcherOptions> },
  work: (rooms: { web: Web; proxy: WebProxy; fetcher: Fetcher }) => Promise<void>,
): Promise<void> {
  const web = await Web.start(options.isSecure ? { tls: localCertificate } : {})
  const proxy = await WebProxy.start(options.proxy)
  const proxies = { http: proxy.url, https: proxy.url }
  try {
    const own = { extraCa: cert, proxies, ...options.fetcher }
    await withFetcher(own, (fetcher) => work({ web, proxy, fetcher }))
  } finally {
    await Promise.all([proxy.stop(), web.stop()])
  }
}

async function readWhole(fetcher: Fetcher, url: URL): Promise<Buffer> {
  return await readAll((await fetcher.get(url)).body)
}

tests(
  'http goes to the proxy whole, with its password; nothing of that reaches the target',
  async () => {
    await byProxy({ isSecure: false }, async ({ web, proxy, fetcher }) => {
      const url = web.serve('/a', content)
      url.search = '?b=c%20d'
      assert.ok((await readWhole(fetcher, url)).equals(content))
      assert.equal(proxy.seen, [{ method: 'GET', target: url.href, authorization: basic }])
      assert.is(web.requests[0]?.headers.host, `127.0.0.1:${web.port}`)
      assert.is(web.requests[0]?.headers['accept-encoding'], 'identity')
    })
  },
)

tests('https goes through a tunnel, and the far end is checked', async () => {
  await byProxy({ isSecure: true }, async ({ web, proxy, fetcher }) => {
    web.serve('/a', content)
    assert.ok((await readWhole(fetcher, web.url('/a', 'localhost'))).equals(content))
    const target = `localhost:${web.port}`
    assert.equal(proxy.seen, [{ method: 'CONNECT', target, authorization: basic }])
    const { headers } = web.requests[0] ?? {}
    assert.is(headers?.host, target)
    assert.is(headers?.['proxy-authorization'], undefined)
    const elsewhere = fetcher.get(web.url('/a'))
    await assertFailure(elsewhere, 'permanent', '(ERR_TLS_CERT_ALTNAME_INVALID)')
  })
  const fetcher = { extraCa: '' }
  await byProxy({ isSecure: true, fetcher }, async ({ web, fetcher: own }) => {
    const url = web.url('/a', 'localhost')
    await assertFailure(own.get(url), 'permanent', 'its certificate is not trusted')
    assert.is(web.requests.length, 0)
  })
})

tests('a proxy may be spoken to by https, when it is vouched for', async () => {
  for (const isSecure of [false, true]) {
    const proxy = { tls: localCertificate }
    await byProxy({ isSecure, proxy }, async ({ web, proxy: asked, fetcher }) => {
      web.serve('/a', content)
      assert.ok((await readWhole(fetcher, web.url('/a', 'localhost'))).equals(content))
      assert.is(asked.seen.length, 1)
    })
    await byProxy({ isSecure, proxy, fetcher: { extraCa: '' } }, async ({ web, fetcher }) => {
      const url = web.url('/a', 'localhost')
      await assertFailure(fetcher.get(url), 'permanent', 'its certificate is not trusted')
    })
  }
})

tests('no proxy is used for what NO_PROXY names, nor between managers', async () => {
  await byProxy({ isSecure: false }, async ({ web, proxy, fetcher }) => {
    const url = web.serve('/a', content)
    const { cancel } = await fetcher.get(url, { isDirect: true })
    cancel()
    const no = { proxies: { http: proxy.url, no: '127.0.0.0/8' } }
    await withFetcher(no, async (own) => {
      assert.ok((await readWhole(own, url)).equals(content))
    })
    assert.is(proxy.seen.length, 0)
    assert.is(web.requests.length, 2)
  })
})

async function assertRefused(work: Promise<unknown>, message: string): Promise<void> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(isImageError(error, 'invalid_argument'), String(error))
  assert.match(error.message, message)
}

tests('a password goes as it is meant, also with a lone percent sign', async () => {
  await byProxy({ isSecure: false }, async ({ web, proxy }) => {
    const url = web.serve('/a', content)
    const proxies = { http: proxy.url.replace('pass%20word', '100%') }
    await withFetcher({ proxies }, async (fetcher) => {
      assert.ok((await readWhole(fetcher, url)).equals(content))
    })
    const expected = `Basic ${Buffer.from('user:100%').toString('base64')}`
    assert.is(proxy.seen[0]?.authorization, expected)
  })
})

tests('what is refused is refused before the proxy hears of it', async () => {
  for (const isSecure of [false, true]) {
    const fetcher = { rules: new AddressRules({ deny: ['*.denied.test'] }) }
    await byProxy({ isSecure, fetcher }, async ({ web, proxy, fetcher: own }) => {
      for (const host of ['127.0.0.1', '0x7f.1', '[::1]', 'localhost']) {
        await assertRefused(own.get(web.url('/a', host)), 'it is refused by default (loopback')
      }
      await assertRefused(own.get(web.url('/a', 'a.localhost')), 'it is refused by default')
      const metadata = web.url('/a', 'metadata.google.internal')
      await assertRefused(own.get(metadata), 'it is refused by default')
      const denied = web.url('/a', 'a.denied.test')
      await assertRefused(own.get(denied), 'DOWNLOAD_DENY forbids it with *.denied.test')
      assert.is(proxy.seen.length, 0)
      assert.is(web.requests.length, 0)
    })
  }
})

tests('a redirect that comes through a proxy is checked again', async () => {
  await byProxy({ isSecure: false }, async ({ web, proxy, fetcher }) => {
    const url = web.redirect('/a', 'http://169.254.169.254/')
    await assertRefused(fetcher.get(url), 'redirects to a place that is refused')
    assert.is(proxy.seen.length, 1)
  })
})

tests('a name that only the proxy can resolve is left to it', async () => {
  const hosts = { 'only-there.invalid': '127.0.0.1' }
  await byProxy({ isSecure: false, proxy: { hosts } }, async ({ web, proxy, fetcher }) => {
    web.serve('/a', content)
    const url = web.url('/a', 'only-there.invalid')
    assert.ok((await readWhole(fetcher, url)).equals(content))
    assert.is(proxy.seen[0]?.target, url.href)
    const rules = new AddressRules({ deny: ['*'] })
    await withFetcher({ rules, proxies: { http: proxy.url } }, async (own) => {
      await assertRefused(own.get(url), 'DOWNLOAD_DENY forbids it with *')
    })
    assert.is(proxy.seen.length, 1)
  })
})

tests('a proxy that refuses, or is not there, is named without its password', async () => {
  const nameless = /^(?!.*(user|pass)).*http:\/\/127\.0\.0\.1:[0-9]+\/:? /
  for (const [status, kind] of [
    [407, 'permanent'],
    [403, 'permanent'],
    [502, 'transient'],
    [503, 'transient'],
    // To follow it would be to trust the proxy with what the far end has to say.
    [302, 'permanent'],
  ] as const) {
    const proxy = { refusal: { status, headers: { location: 'http://127.0.0.1/' } } }
    await byProxy({ isSecure: true, proxy }, async ({ web, fetcher }) => {
      const work = fetcher.get(web.url('/a', 'localhost'))
      await assertFailure(work, kind, nameless)
      const again = fetcher.get(web.url('/a', 'localhost'))
      await assertFailure(
        again,
        kind,
        `does not lead to localhost:${web.port}: it answered ${status}`,
      )
    })
  }
  for (const isSecure of [false, true]) {
    await byProxy({ isSecure }, async ({ web, proxy, fetcher }) => {
      await proxy.stop()
      const work = fetcher.get(web.url('/a', 'localhost'))
      await assertFailure(work, 'transient', 'nobody listens there')
      const again = fetcher.get(web.url('/a', 'localhost'))
      await assertFailure(again, 'transient', nameless)
    })
  }
})

tests('a proxy that says nothing is given up', async () => {
  for (const isSecure of [false, true]) {
    const options = { isSecure, proxy: { isSilent: true }, fetcher: { idleTimeoutMs: 100 } }
    await byProxy(options, async ({ web, fetcher }) => {
      await assertFailure(fetcher.get(web.url('/a', 'localhost')), 'transient', 'nothing came')
    })
  }
})

tests.run()
