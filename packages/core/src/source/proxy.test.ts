// Requests that go through a proxy: to which, in which form, and what stays forbidden.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { proxyFor } from './proxy.ts'

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

tests.run()
