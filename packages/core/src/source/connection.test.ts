// Connections are made only to who is vouched for, and are used again.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { firstCertificate, localCertificate } from '../testing/certificates.ts'
import { Web } from '../testing/web.ts'
import type { Fetcher } from './fetcher.ts'
import { assertFailure, withFetcher } from './testing/reading.ts'

const tests = suite('fetcher: connections')

let web: Web
tests.before.each(async () => {
  web = await Web.start()
})
tests.after.each(async () => {
  await web.stop()
})

const content = Buffer.alloc(300_000, 'content')

async function readWhole(fetcher: Fetcher, url: URL): Promise<Buffer> {
  return await readAll((await fetcher.get(url)).body)
}

tests('certificates are checked: what nobody vouches for is refused for good', async () => {
  const secure = await Web.start({ tls: localCertificate })
  const url = secure.serve('/a', content)
  const local = secure.url('/a', 'localhost')
  const strange = 'its certificate is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT). EXTRA_CA_FILE can'
  await withFetcher({}, async (fetcher) => {
    await assertFailure(fetcher.get(local), 'permanent', strange)
  })
  await withFetcher({ extraCa: firstCertificate.cert }, async (fetcher) => {
    await assertFailure(fetcher.get(local), 'permanent', strange)
  })
  await withFetcher({ extraCa: localCertificate.cert }, async (fetcher) => {
    assert.ok((await readWhole(fetcher, local)).equals(content))
    await assertFailure(fetcher.get(url), 'permanent', '(ERR_TLS_CERT_ALTNAME_INVALID)')
  })
  assert.is(secure.requests.length, 1)
  await secure.stop()
})

tests('a server that is not there, or speaks no TLS, may come back', async () => {
  await withFetcher({}, async (fetcher) => {
    const gone = await Web.start()
    const url = gone.url('/a')
    await gone.stop()
    await assertFailure(fetcher.get(url), 'transient', 'nobody listens there (ECONNREFUSED)')
    const plain = web.url('/a')
    plain.protocol = 'https:'
    await assertFailure(fetcher.get(plain), 'transient', 'the connection failed')
    const unknown = web.url('/a', 'a.invalid')
    await assertFailure(fetcher.get(unknown), 'transient', 'its host name')
  })
})

tests('connections are used again, and one that was closed meanwhile is no failure', async () => {
  const ports: (number | undefined)[] = []
  web.on('/a', (request, response) => {
    ports.push(request.socket.remotePort)
    response.end('x')
  })
  await withFetcher({}, async (fetcher) => {
    for (let count = 0; count < 3; count += 1) await readWhole(fetcher, web.url('/a'))
    assert.is(new Set(ports).size, 1)
    // What a server does whose time for kept connections is over, too late to be seen.
    web.on('/a', (request, response) => {
      if (ports.includes(request.socket.remotePort)) request.socket.destroy()
      else response.end('x')
    })
    assert.is((await readWhole(fetcher, web.url('/a'))).toString(), 'x')
    const { cancel } = await fetcher.get(web.serve('/b', content))
    cancel()
    const fresh = await fetcher.get(web.serve('/b', content))
    assert.ok((await readAll(fresh.body)).equals(content))
  })
})

tests.run()
