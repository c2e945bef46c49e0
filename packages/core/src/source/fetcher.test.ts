// Where a request goes, what it carries there, and where redirects may lead it.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { isImageError } from '../errors.ts'
import { localCertificate } from '../testing/certificates.ts'
import { Web } from '../testing/web.ts'
import { AddressRules } from './address-rules.ts'
import { SourceError } from './failure.ts'
import type { Fetcher, ResolvedAddress } from './fetcher.ts'
import { localFetcher, withFetcher } from './testing/reading.ts'

const tests = suite('fetcher')

let web: Web
let other: Web
let fetcher: Fetcher
tests.before.each(async () => {
  web = await Web.start()
  other = await Web.start()
  fetcher = localFetcher()
})
tests.after.each(async () => {
  fetcher.close()
  await Promise.all([web.stop(), other.stop()])
})

const content = Buffer.from('the content')

/** What a request ends with, which is no success. */
async function failureOf(work: Promise<unknown>): Promise<Error> {
  try {
    await work
  } catch (error) {
    assert.instance(error, Error)
    return error as Error
  }
  throw new Error('nothing failed')
}

async function refusalOf(work: Promise<unknown>, message: string | RegExp): Promise<void> {
  const error = await failureOf(work)
  assert.ok(isImageError(error, 'invalid_argument'), String(error))
  assert.match(error.message, message)
}

tests('a GET brings the status, the head and the bytes', async () => {
  const answer = await fetcher.get(web.serve('/a', content))
  assert.is(answer.status, 200)
  assert.is(answer.headers['content-length'], '11')
  assert.is((await readAll(answer.body)).toString(), 'the content')
  const part = await fetcher.get(web.url('/a'), { headers: { range: 'bytes=4-' } })
  assert.is(part.status, 206)
  assert.is((await readAll(part.body)).toString(), 'content')
})

tests(
  'a request says who asks and wants the bytes as they are; no cookies, no Referer',
  async () => {
    const cookie = { headers: { 'set-cookie': 'a=b' } }
    const page = web.serve('/a', content, { fault: () => cookie })
    const answers = [await fetcher.get(web.redirect('/b', page)), await fetcher.get(page)]
    for (const { cancel } of answers) cancel()
    assert.is(web.requests.length, 3)
    for (const { headers } of web.requests) {
      assert.is(headers['accept-encoding'], 'identity')
      assert.is(headers['user-agent'], 'backing-image-manager')
      assert.is(headers.host, `127.0.0.1:${web.port}`)
      assert.is(headers.cookie, undefined)
      assert.is(headers.referer, undefined)
    }
  },
)

tests('every redirect is followed, and what comes says where from, without secrets', async () => {
  web.serve('/end', content)
  for (const [status, location] of [
    [301, '/end?a=b'],
    [302, 'end?a=b'],
    [303, `//127.0.0.1:${web.port}/end?a=b`],
    [307, web.url('/end?a=b#x')],
    [308, './x/../end?a=b'],
  ] as const) {
    const answer = await fetcher.get(web.redirect('/begin', location, status))
    assert.is((await readAll(answer.body)).toString(), 'the content')
    assert.is(answer.url, `http://127.0.0.1:${web.port}/end?a=REDACTED`)
    assert.is(answer.location.search, '?a=b')
  }
})

tests('a query goes as it is written, also through a redirect', async () => {
  const query = '?X-Amz-Credential=a%2Fb%2fc&d=+e%20f&g&h=%C3%BC'
  web.serve('/end', content)
  await fetcher.get(web.redirect('/begin', `/end${query}`))
  assert.is(web.seen('/end')[0]?.path, `/end${query}`)
})

tests('ten redirects are followed, not one more; a loop ends', async () => {
  web.serve('/0', content)
  for (let count = 1; count <= 11; count += 1) web.redirect(`/${count}`, `/${count - 1}`)
  const { status, cancel } = await fetcher.get(web.url('/10'))
  assert.is(status, 200)
  cancel()
  await refusalOf(fetcher.get(web.url('/11')), 'leads through more than 10 redirects')
  const before = web.requests.length
  await refusalOf(fetcher.get(web.redirect('/loop', '/loop')), 'more than 10 redirects')
  assert.is(web.requests.length, before + 11)
})

tests('a redirect that leads nowhere is refused', async () => {
  for (const [location, message] of [
    ['', 'redirects without saying where to'],
    ['http://', 'redirects to what is no URL'],
    ['http://a b/', 'redirects to what is no URL'],
    ['file:///etc/passwd', 'is refused. The URL begins with file:, only http: and https:'],
    ['http://user:hunter2@127.0.0.1/', 'The URL holds a user or a password'],
  ] as const) {
    const error = await failureOf(fetcher.get(web.redirect('/a', location)))
    assert.ok(isImageError(error, 'invalid_argument'), String(error))
    assert.match(error.message, message)
    assert.match(error.message, /\/a(: it)? redirects /)
    assert.not.match(error.message, 'hunter2')
  }
})

tests('a redirect to the metadata of a cloud is refused, however it is spelled', async () => {
  for (const host of [
    '169.254.169.254',
    '0xa9fea9fe',
    '[::ffff:169.254.169.254]',
    '0251.254.43518',
  ]) {
    const url = web.redirect('/a', `http://${host}/latest/meta-data/`)
    const message = /\/a redirects to a place that is refused. Nothing is fetched from .*169\.254/
    await refusalOf(fetcher.get(url), message)
  }
})

/** Resolves names by a table: each look has another answer, until the last. */
function resolving(table: Record<string, string[][]>): {
  resolve: (host: string) => Promise<ResolvedAddress[]>
  asked: string[]
} {
  const asked: string[] = []
  const resolve = async (host: string): Promise<ResolvedAddress[]> => {
    const answers = table[host] ?? []
    const found = answers[asked.filter((each) => each === host).length] ?? answers.at(-1) ?? []
    asked.push(host)
    return found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
  }
  return { resolve, asked }
}

tests('a name is resolved once, and the connection goes to what was checked', async () => {
  // A second look would be told another address.
  const { resolve, asked } = resolving({ 'a.test': [['127.0.0.1'], ['169.254.169.254']] })
  web.serve('/a', content)
  await withFetcher({ resolve }, async (own) => {
    const answer = await own.get(web.url('/a', 'a.test'))
    assert.is((await readAll(answer.body)).toString(), 'the content')
    assert.equal(asked, ['a.test'])
    assert.is(web.requests[0]?.headers.host, `a.test:${web.port}`)
  })
})

tests('each new connection is checked again; one bad address of a name is enough', async () => {
  const { resolve } = resolving({
    'a.test': [['127.0.0.1'], ['169.254.169.254']],
    'b.test': [['127.0.0.1', '169.254.169.254']],
    'c.test': [['127.0.0.1', '::ffff:169.254.169.254']],
  })
  const page = web.on(
    '/a',
    (_, response) => void response.writeHead(200, { connection: 'close' }).end(),
  )
  await withFetcher({ resolve }, async (own) => {
    await readAll((await own.get(web.url(page.pathname, 'a.test'))).body)
    await refusalOf(own.get(web.url('/a', 'a.test')), 'a.test at 169.254.169.254: it is refused')
    await refusalOf(own.get(web.url('/a', 'b.test')), 'b.test at 169.254.169.254')
    await refusalOf(own.get(web.url('/a', 'c.test')), 'which is 169.254.169.254')
    const hop = web.redirect('/hop', `http://b.test:${web.port}/a`)
    await refusalOf(own.get(hop), '/hop redirects to a place that is refused')
  })
  assert.is(web.requests.length, 2)
})

tests('the second address of a name is tried when the first does not answer', async () => {
  const { resolve } = resolving({ 'a.test': [['127.0.0.2', '127.0.0.1']] })
  web.serve('/a', content)
  await withFetcher({ resolve }, async (own) => {
    const { status, cancel } = await own.get(web.url('/a', 'a.test'))
    assert.is(status, 200)
    cancel()
  })
})

tests('loopback is refused as it is: nothing is asked', async () => {
  await withFetcher({ rules: new AddressRules() }, async (own) => {
    for (const host of ['127.0.0.1', 'localhost', '[::1]', '0x7f.1', 'LOCALHOST']) {
      await refusalOf(own.get(web.url('/a', host)), 'it is refused by default')
    }
  })
  assert.is(web.requests.length, 0)
})

tests('a credential goes to the hosts that it names, and to no other', async () => {
  web.serve('/a', content)
  const headers = { Authorization: 'Bearer secret', 'X-Other': 'secret' }
  const get = async (hosts: string[], host?: string): Promise<void> =>
    (await fetcher.get(web.url('/a', host), { credential: { headers, hosts } })).cancel()
  for (const hosts of [['127.0.0.1'], [`127.0.0.1:${web.port}`], ['x.test', '127.0.0.1']]) {
    await get(hosts)
    assert.is(web.requests.at(-1)?.headers.authorization, 'Bearer secret')
    assert.is(web.requests.at(-1)?.headers['x-other'], 'secret')
  }
  await get(['LocalHost'], 'localhost')
  const before = web.requests.length
  for (const hosts of [[], ['127.0.0.1:1'], ['x.test'], ['*'], ['*.127.0.0.1'], ['']]) {
    await refusalOf(get(hosts), `The credential is not meant for 127.0.0.1:${web.port}`)
  }
  assert.is(web.requests.length, before)
})

tests('a credential is dropped for good on a redirect to another origin', async () => {
  const credential = { headers: { authorization: 'secret' }, hosts: ['127.0.0.1'] }
  const sent = (path: string): unknown =>
    [...web.seen(path), ...other.seen(path)].map(({ headers }) => headers.authorization)
  web.serve('/end', content)
  const same = await fetcher.get(web.redirect('/same', '/end'), { credential })
  same.cancel()
  assert.is(same.isWithCredential, true)
  assert.equal([sent('/same'), sent('/end')], [['secret'], ['secret']])
  // Another port is another origin, whatever the hosts of the credential say of it.
  const away = await fetcher.get(web.redirect('/away', other.serve('/far', content)), {
    credential,
  })
  away.cancel()
  assert.is(away.isWithCredential, false)
  assert.equal([sent('/away'), sent('/far')], [['secret'], [undefined]])
  const there = other.redirect('/there', web.serve('/home', content))
  const back = await fetcher.get(web.redirect('/back', there), { credential })
  back.cancel()
  assert.is(back.isWithCredential, false)
  assert.equal(
    [sent('/back'), sent('/there'), sent('/home')],
    [['secret'], [undefined], [undefined]],
  )
})

tests('a redirect to another scheme is another origin', async () => {
  const secure = await Web.start({ tls: localCertificate })
  const credential = { headers: { authorization: 'secret' }, hosts: ['localhost'] }
  secure.serve('/end', content)
  const from = web.redirect('/a', secure.url('/end', 'localhost'))
  from.hostname = 'localhost'
  await withFetcher({ extraCa: localCertificate.cert }, async (own) => {
    const { status, cancel } = await own.get(from, { credential })
    assert.is(status, 200)
    cancel()
  })
  assert.is(web.requests[0]?.headers.authorization, 'secret')
  assert.is(secure.requests[0]?.headers.authorization, undefined)
  await secure.stop()
})

tests('statuses that the caller expects are answers, others are failures', async () => {
  web.on('/a', (_, response) => void response.writeHead(404, { 'x-a': 'b' }).end('why'))
  const error = await failureOf(fetcher.get(web.url('/a')))
  assert.instance(error, SourceError)
  assert.is((error as SourceError).status, 404)
  const answer = await fetcher.get(web.url('/a'), { expected: [404] })
  assert.is(answer.status, 404)
  assert.is((await readAll(answer.body)).toString(), 'why')
})

tests('IPv6 is spoken, too', async () => {
  const six = await Web.start({ host: '::1' })
  six.serve('/a', content)
  const answer = await fetcher.get(six.url('/a'))
  assert.is((await readAll(answer.body)).toString(), 'the content')
  assert.is(six.requests[0]?.headers.host, `[::1]:${six.port}`)
  await six.stop()
})

tests.run()
