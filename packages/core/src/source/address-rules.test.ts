// A URL of a client leads to no address that is refused, however it is spelled; and the operator's
// rules decide what is.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { AddressRules, parseRule } from './address-rules.ts'
import { isAllowed, refusalOf } from './testing/refusal.ts'

const tests = suite('address rules')

const usual = new AddressRules()

const refusedAddresses = {
  loopback: ['127.0.0.1', '127.255.255.254', '127.1.2.3', '::1'],
  'cloud metadata': [
    '169.254.169.254',
    'fd00:ec2::254',
    'fd20:ce::254',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
  ],
  'link-local': ['169.254.0.1', '169.254.170.2', 'fe80::1', 'febf::1', 'fe80::1%eth0'],
  multicast: ['224.0.0.1', '239.255.255.250', 'ff02::1'],
  unspecified: ['0.0.0.0', '0.1.2.3', '::'],
  broadcast: ['255.255.255.255'],
  reserved: [
    '240.0.0.1',
    '254.1.1.1',
    '192.0.0.1',
    '192.0.0.170',
    '192.0.2.1',
    '198.51.100.255',
    '203.0.113.7',
    '198.18.0.1',
    '198.19.255.255',
    '192.88.99.1',
    '2001:db8::1',
    '2001:db8:ffff::1',
    '3fff:fff::1',
    '2001:2::1',
    '2001:1f::1',
    '100::1',
    '100:0:0:1::1',
    '5f00::1',
    'fec0::1',
    'feff::1',
  ],
}

tests('what is never meant is refused by default, with its rule and the way to allow it', () => {
  for (const [what, addresses] of Object.entries(refusedAddresses)) {
    for (const address of addresses) {
      const { message } = refusalOf(() => usual.assertAddress('a.example.org', address))
      assert.match(message, `a.example.org at ${address}`)
      assert.match(message, `(${what} `)
      assert.match(message, `DOWNLOAD_ALLOW=${address.replace('%eth0', '')}`)
    }
  }
  const { message } = refusalOf(() => usual.assertAddress('127.0.0.1', '127.0.0.1'))
  assert.match(message, 'the address 127.0.0.1: it is refused by default (loopback 127.0.0.0/8)')
})

tests('public and private addresses beside them are allowed by default', () => {
  for (const address of [
    '1.1.1.1',
    '10.0.0.1',
    '172.16.0.1',
    '192.168.1.1',
    '100.64.0.1',
    '126.255.255.255',
    '128.0.0.1',
    '169.253.255.255',
    '169.255.0.1',
    '223.255.255.255',
    '1.0.0.0',
    '100.100.100.201',
    '2606:4700::1111',
    'fd00::1',
    'fe7f::1',
    'fc00::1',
    '192.0.1.1',
    '192.0.3.1',
    '198.17.255.255',
    '198.20.0.1',
    '198.51.101.1',
    '203.0.114.1',
    '2001:db7::1',
    '2001:db9::1',
    '2001:2:1::1',
    '2001:20::1',
    '100:0:0:2::1',
    '4000::1',
    '5f01::1',
    'fd00:ec2::255',
  ]) {
    assert.ok(isAllowed(usual, address), address)
  }
})

tests('only http and https are fetched, and nothing with a user or a password', () => {
  for (const url of ['ftp://a.example', 'file:///etc/passwd', 'gopher://a.example', 'data:,x']) {
    const { message } = refusalOf(() => usual.assertUrl(new URL(url)))
    assert.match(message, 'only http: and https: are fetched')
    assert.not.match(message, 'passwd')
  }
  for (const user of ['user', ':hunter2', 'user:hunter2']) {
    const { message } = refusalOf(() => usual.assertUrl(new URL(`https://${user}@a.example/`)))
    assert.match(message, 'credential: {"secretRef": "NAME"}')
    assert.not.match(message, /hunter2|a\.example/)
  }
})

tests('the operator allows and forbids addresses; the most specific rule decides', () => {
  const rules = new AddressRules({
    allow: ['127.0.0.0/8', '10.1.0.0/16', '10.1.2.3', 'fd00:1::/32', '192.168.0.0/16'],
    deny: ['10.0.0.0/8', '10.1.2.0/24', '127.0.0.53', 'fd00::/16', '192.168.0.0/16'],
  })
  for (const address of ['127.0.0.1', '10.1.1.1', '10.1.2.3', 'fd00:1::1', '8.8.8.8', '2606::1']) {
    assert.ok(isAllowed(rules, address), address)
  }
  for (const [address, rule] of [
    ['10.2.0.1', '10.0.0.0/8'],
    ['10.1.2.4', '10.1.2.0/24'],
    ['127.0.0.53', '127.0.0.53'],
    ['fd00:2::1', 'fd00::/16'],
    ['192.168.1.1', '192.168.0.0/16'],
  ] as const) {
    const { message } = refusalOf(() => rules.assertAddress('a.example.org', address))
    assert.match(message, `a.example.org at ${address}: DOWNLOAD_DENY forbids it with ${rule}.`)
  }
  assert.not.ok(isAllowed(rules, '::1'), 'IPv4 loopback is not IPv6 loopback')
  assert.not.ok(isAllowed(rules, '169.254.169.254'), 'what no rule names is as before')
})

tests('* means every address, of both kinds', () => {
  const none = new AddressRules({ deny: ['*'], allow: ['10.0.0.0/8', '*.example.org'] })
  assert.ok(isAllowed(none, '10.1.1.1', 'other.test'))
  assert.ok(isAllowed(none, '8.8.8.8', 'a.example.org'))
  assert.not.ok(isAllowed(none, '8.8.8.8', 'other.test'))
  assert.not.ok(isAllowed(none, '2606::1', 'other.test'))
  const all = new AddressRules({ allow: ['*'] })
  for (const address of Object.values(refusedAddresses).flat()) {
    assert.ok(isAllowed(all, address), address)
  }
  const both = new AddressRules({ allow: ['*'], deny: ['*'] })
  assert.not.ok(isAllowed(both, '8.8.8.8'))
})

tests('a rule for the name decides before one for its address', () => {
  const rules = new AddressRules({
    allow: ['*.example.org', 'good.evil.test', '127.0.0.1', 'LocalHost'],
    deny: ['bad.example.org', '*.evil.test', '10.0.0.0/8', 'bad.*.example.org', 'mirror-*.test'],
  })
  const allowed = (url: string): void =>
    assert.not.throws(() => rules.assertUrl(new URL(url)), undefined, url)
  const denied = (url: string, rule: string): void => {
    const { message } = refusalOf(() => rules.assertUrl(new URL(url)))
    assert.match(
      message,
      `the host ${new URL(url).hostname}: DOWNLOAD_DENY forbids it with ${rule}.`,
    )
  }
  allowed('http://a.example.org')
  allowed('http://a.b.EXAMPLE.org.')
  allowed('http://good.evil.test')
  allowed('http://example.org')
  allowed('http://evil.test')
  denied('http://bad.example.org', 'bad.example.org')
  denied('http://BAD.example.org.', 'bad.example.org')
  denied('http://other.evil.test', '*.evil.test')
  denied('http://bad.x.example.org', 'bad.*.example.org')
  denied('http://mirror-7.test', 'mirror-*.test')
  assert.ok(isAllowed(rules, '10.1.1.1', 'a.example.org'), 'denied as an address')
  assert.ok(isAllowed(rules, '127.0.0.2', 'localhost'), 'refused by default')
  assert.not.ok(isAllowed(rules, '10.1.1.1', 'example.org'), 'no name says anything')
  assert.not.ok(isAllowed(rules, '127.0.0.2', 'example.org'))
  const name = new AddressRules({ allow: ['*cafe'] })
  assert.not.ok(isAllowed(name, 'fe80::cafe', 'fe80::cafe'), 'an address is no name')
  const even = new AddressRules({ allow: ['a.example.org'], deny: ['a.example.org'] })
  refusalOf(() => even.assertUrl(new URL('http://a.example.org')))
})

tests('a name that only a proxy can resolve is refused where no address could be right', () => {
  const passes = (rules: AddressRules, host: string): void =>
    assert.not.throws(() => rules.assertUnresolved(host), undefined, host)
  passes(usual, 'inner.example.org')
  for (const host of ['localhost', 'a.localhost', 'localhost.', 'metadata.google.internal']) {
    const { message } = refusalOf(() => usual.assertUnresolved(host))
    assert.match(message, `the host ${host}`)
    assert.match(message, 'DOWNLOAD_ALLOW=')
  }
  passes(new AddressRules({ allow: ['localhost'] }), 'localhost')
  const closed = new AddressRules({ deny: ['*'], allow: ['*.example.org', '10.0.0.0/8'] })
  passes(closed, 'inner.example.org')
  assert.match(refusalOf(() => closed.assertUnresolved('other.test')).message, 'forbids it with *.')
  passes(new AddressRules({ deny: ['10.0.0.0/8'] }), 'other.test')
})

tests('what is no rule is told apart', () => {
  for (const text of [
    '*',
    '10.0.0.0/8',
    '10.1.2.3/8',
    '0.0.0.0/0',
    '10.0.0.1',
    '::1',
    '[::1]',
    'FD00::/8',
    '::ffff:10.0.0.0/104',
    'example.org',
    'Example.ORG.',
    '*.example.org',
    'mirror*.example.org',
    'a_b-c.example.x1',
    'localhost',
    'xn--bcher-kva.example',
  ]) {
    assert.ok(parseRule(text), text)
  }
  for (const text of [
    '',
    ' ',
    'a b',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '::/129',
    'fe80::1%eth0',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '0x7f.1',
    '0x7f000001',
    '2130706433',
    '10.*',
    '*.*',
    '**',
    'example.org/8',
    'http://example.org',
    'example.org:80',
    'a..b',
    '.example.org',
    'exa\nmple.org',
    `${'a.'.repeat(200)}org`,
  ]) {
    assert.is(parseRule(text), undefined, JSON.stringify(text))
    const { message } = refusalOf(() => new AddressRules({ deny: [text] }))
    assert.match(message, 'is not an address, a CIDR such as')
  }
})

tests.run()
