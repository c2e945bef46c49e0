// Addresses and ranges of ports, as Longhorn writes them and as nobody should.

import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { formatAddress, parseAddress, parsePortRange } from './address.ts'

const address = suite('address')

address('an address is read with and without host, with and without brackets', () => {
  assert.equal(parseAddress(':8000'), { host: '', port: 8000 })
  assert.equal(parseAddress('localhost:0'), { host: 'localhost', port: 0 })
  assert.equal(parseAddress('10.0.0.1:8001'), { host: '10.0.0.1', port: 8001 })
  assert.equal(parseAddress('[fd00::1]:65535'), { host: 'fd00::1', port: 65_535 })
  assert.equal(parseAddress('fd00::1:8000'), { host: 'fd00::1', port: 8000 })
})

address('what is none is refused', () => {
  for (const text of [
    '',
    '8000',
    'host',
    'host:',
    'host:x',
    ':65536',
    ':-1',
    'http://a:1',
    'a b:1',
  ]) {
    assert.throws(
      () => parseAddress(text),
      (error: unknown) => isImageError(error, 'invalid_argument'),
      text,
    )
  }
})

address('IPv6 is written with brackets, nothing as nothing', () => {
  assert.is(formatAddress({ host: 'fd00::1', port: 1 }), '[fd00::1]:1')
  assert.is(formatAddress({ host: '', port: 8001 }), ':8001')
  assert.is(formatAddress({ host: 'localhost', port: 2 }), 'localhost:2')
})

address('a range has two ends in order', () => {
  assert.equal(parsePortRange('30001-31000'), { first: 30_001, last: 31_000 })
  assert.equal(parsePortRange(' 5 - 5 '), { first: 5, last: 5 })
  for (const text of ['', '1', '2-1', '0-5', '1-65536', '1-2-3', 'a-b']) {
    assert.throws(
      () => parsePortRange(text),
      (error: unknown) => isImageError(error, 'invalid_argument'),
      text,
    )
  }
})

address.run()
