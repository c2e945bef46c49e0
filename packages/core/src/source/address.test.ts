// However an address is spelled, and whatever it is wrapped in, it is judged as where it leads.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { AddressRules } from './address-rules.ts'
import { isAllowed, refusalOf } from './testing/refusal.ts'

const tests = suite('address')

const usual = new AddressRules()

tests('an IPv4 address inside an IPv6 one is judged as what it is', () => {
  for (const [address, inner] of [
    ['::ffff:127.0.0.1', '127.0.0.1'],
    ['::ffff:7f00:1', '127.0.0.1'],
    ['0:0:0:0:0:FFFF:7F00:0001', '127.0.0.1'],
    ['::127.0.0.1', '127.0.0.1'],
    ['::ffff:0:127.0.0.1', '127.0.0.1'],
    ['::ffff:0:a9fe:a9fe', '169.254.169.254'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::2', '0.0.0.2'],
    ['64:ff9b::169.254.169.254', '169.254.169.254'],
    ['64:ff9b:1::169.254.169.254', '169.254.169.254'],
    ['64:ff9b:1:a9fe:a9:fe00::', '169.254.169.254'],
    ['64:ff9b:1:a9:fe:a9fe::', '169.254.169.254'],
    ['64:ff9b:1:0:7f:0:100::', '127.0.0.1'],
    ['2002:7f00:1::', '127.0.0.1'],
    ['2002:a9fe:a9fe::1', '169.254.169.254'],
    // Teredo: the client's address is inverted, the server's is not.
    ['2001:0:808:808:8000:f227:80ff:fffe', '127.0.0.1'],
    ['2001:0:7f00:1:8000:f227:f7f7:f7f7', '127.0.0.1'],
  ] as const) {
    const { message } = refusalOf(() => usual.assertAddress('a.example.org', address))
    assert.match(message, `which is ${inner}`)
  }
  for (const address of [
    '::ffff:8.8.8.8',
    '::8.8.8.8',
    '::ffff:0:8.8.8.8',
    '::ffff:1:127.0.0.1',
    '64:ff9b::8.8.8.8',
    '64:ff9b:1::8.8.8.8',
    '2002:808:808::1',
    '2001:0:808:808:8000:f227:f7f7:f7f7',
    '2001:1::7f00:1',
    '2003:7f00:1::',
  ]) {
    assert.ok(isAllowed(usual, address), address)
  }
  const rules = new AddressRules({ deny: ['10.0.0.0/8'], allow: ['127.0.0.1'] })
  assert.not.ok(isAllowed(rules, '::ffff:10.1.1.1'))
  assert.ok(isAllowed(rules, '::ffff:127.0.0.1'))
  assert.not.ok(isAllowed(rules, '::ffff:127.0.0.2'))
  const mapped = new AddressRules({ deny: ['::ffff:10.0.0.0/104'], allow: ['::/0'] })
  assert.not.ok(isAllowed(mapped, '10.1.1.1'), 'a rule may be written as IPv6, too')
  assert.not.ok(isAllowed(mapped, '::ffff:127.0.0.1'), 'a rule for all of IPv6 is none for IPv4')
  assert.ok(isAllowed(mapped, '::1'))
})

/** All of them mean 127.0.0.1 to somebody. */
const spellings = [
  '127.0.0.1',
  '127.0.0.1.',
  '127.1',
  '127.0.1',
  '2130706433',
  '0x7f000001',
  '0X7F000001',
  '0x7f.0.0.1',
  '0177.0.0.1',
  '0177.0x0.0.1',
  '00000177.0.0.01',
  '017700000001',
  '%31%32%37.0.0.1',
  '127%2e0%2e0%2e1',
  '１２７.０.０.１',
  '127。0。0。1',
  '①②⑦.⓪.⓪.①',
  '[::ffff:127.0.0.1]',
  '[::FFFF:7F00:1]',
  '[0:0:0:0:0:ffff:127.0.0.1]',
  '[::127.0.0.1]',
  '[::ffff:0:127.0.0.1]',
  '[::1]',
  '[0000:0000:0000:0000:0000:0000:0000:0001]',
]

tests('odd spellings of an address do not pass', () => {
  for (const host of spellings) {
    const url = new URL(`http://${host}:8080/x`)
    const { message } = refusalOf(() => usual.assertUrl(url))
    assert.match(message, /127\.0\.0\.1|::1/, host)
    assert.not.throws(() => new AddressRules({ allow: ['127.0.0.0/8', '::1'] }).assertUrl(url))
  }
  for (const host of ['0', '0x0', '0.0', '2852039166', '0xa9fea9fe', '0251.0376.0251.0376']) {
    refusalOf(() => usual.assertUrl(new URL(`https://${host}/latest/meta-data`)))
  }
  for (const host of ['127.0.0.1..', 'a..b', '.127.0.0.1.example', 'a b', "a'b", 'a!b', 'a(b']) {
    if (!URL.canParse(`http://${host}/`)) continue
    const { message } = refusalOf(() => usual.assertUrl(new URL(`http://${host}/`)))
    assert.match(message, 'is no host name')
  }
})

tests('a URL that is fine passes', () => {
  for (const url of [
    'http://example.org',
    'https://EXAMPLE.org:8443/a?b=c#d',
    'https://a_b.example.org./x',
    'https://bücher.example/x',
    'http://10.0.0.1:8080/',
    'http://[fd00::1]/',
    'http://localhost.example.org/',
    'http://127.0.0.1.example.org/',
  ]) {
    assert.not.throws(() => usual.assertUrl(new URL(url)), url)
  }
})

tests.run()
