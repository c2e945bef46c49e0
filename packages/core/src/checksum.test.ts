// A checksum is taken in every form that clients have, and in no other; a mismatch shows both
// sides.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { algorithmsFor, assertDigests, parseChecksum, splitChecksum } from './checksum.ts'
import { isImageError } from './errors.ts'

const checksum = suite('checksum')

const lengths = { sha512: 128, sha256: 64, sha1: 40, md5: 32 }

checksum('each algorithm is taken with its prefix, and without it by its length', () => {
  for (const [algorithm, length] of Object.entries(lengths)) {
    const hex = '0123456789abcdef'.repeat(8).slice(0, length)
    assert.is(parseChecksum(`${algorithm}:${hex}`), `${algorithm}:${hex}`)
    assert.is(parseChecksum(hex), `${algorithm}:${hex}`)
    assert.is(parseChecksum(hex.toUpperCase()), `${algorithm}:${hex}`)
    assert.is(
      parseChecksum(`${algorithm.toUpperCase()}:${hex.toUpperCase()}`),
      `${algorithm}:${hex}`,
    )
    assert.is(parseChecksum(` ${hex}\n`), `${algorithm}:${hex}`)
    assert.equal(splitChecksum(`${algorithm}:${hex}`), { algorithm, hex })
  }
})

checksum('what is none of the forms is refused, with the forms in the message', () => {
  const good = 'a'.repeat(64)
  const bad = [
    '',
    ':',
    'sha256:',
    `:${good}`,
    good.slice(1),
    `${good}a`,
    `g${good.slice(1)}`,
    `sha512:${good}`,
    `sha384:${'a'.repeat(96)}`,
    'a'.repeat(96),
    `sha-256:${good}`,
    `sha256=${good}`,
    `sha256:sha256:${good}`,
    `sha256: ${good}`,
    `${good} jammy.img`,
    `${good.slice(0, 32)}\n${good.slice(32)}`,
    `constructor:${good}`,
    'a'.repeat(100_000),
  ]
  for (const text of bad) {
    try {
      parseChecksum(text)
    } catch (error) {
      assert.ok(isImageError(error, 'invalid_argument'), String(error))
      assert.is(error.reason, 'invalid_request')
      assert.match(error.message, 'sha512:<128 hex>')
      assert.ok(error.message.length < 500, 'the message repeats everything that was given')
      continue
    }
    assert.unreachable(`${JSON.stringify(text.slice(0, 200))} was taken`)
  }
})

const digests = { sha512: '5'.repeat(128), sha256: '2'.repeat(64), md5: 'd'.repeat(32) }

checksum('a mismatch names both sides', () => {
  const expected = `sha256:${'3'.repeat(64)}`
  try {
    assertDigests([`sha512:${digests.sha512}`, expected], digests)
  } catch (error) {
    assert.ok(isImageError(error, 'data_loss'))
    assert.is(error.reason, 'checksum_mismatch')
    assert.is(error.expected, expected)
    assert.is(error.actual, `sha256:${digests.sha256}`)
    assert.match(error.message, '3'.repeat(64))
    assert.match(error.message, '2'.repeat(64))
    return
  }
  assert.unreachable('another digest was accepted')
})

checksum('digests that are all met pass, and none given is nothing to meet', () => {
  assertDigests([], digests)
  const all = Object.entries(digests).map(([algorithm, hex]) => `${algorithm}:${hex}`)
  assertDigests(all, digests)
})

checksum('a digest that was not made does not count as met', () => {
  assert.throws(
    () => assertDigests([`sha1:${'a'.repeat(40)}`], digests),
    (error: unknown) => isImageError(error, 'data_loss'),
  )
})

checksum('SHA-512 and SHA-256 are always made, and each asked one once', () => {
  assert.equal(algorithmsFor([]), ['sha512', 'sha256'])
  const expected = [`md5:${'a'.repeat(32)}`, `sha256:${'a'.repeat(64)}`, `md5:${'b'.repeat(32)}`]
  assert.equal(algorithmsFor(expected), ['sha512', 'sha256', 'md5'])
})

checksum.run()
