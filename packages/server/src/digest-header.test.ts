import * as assert from 'uvu/assert'
import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import { formatDigests, readDigests } from './digest-header.ts'

const digest = suite('digest-header')

const hash = (algorithm: string) => createHash(algorithm).update('hello')
const sha512 = hash('sha512').digest('hex')
const sha256 = hash('sha256').digest('hex')

digest('what is formatted is read back', () => {
  const header = formatDigests({ sha512, sha256 })
  assert.match(header, /^sha-512=:[A-Za-z0-9+/]{86}==:, sha-256=:[A-Za-z0-9+/]{43}=:$/)
  assert.equal(readDigests('Repr-Digest', header), [`sha512:${sha512}`, `sha256:${sha256}`])
})

digest('other algorithms and an absent header ask for nothing', () => {
  assert.equal(readDigests('Repr-Digest', undefined), [])
  assert.equal(readDigests('Repr-Digest', 'md5=:abc=:, unixsum=:AA==:'), [])
  const header = `md5=:abc=:, SHA-256=:${hash('sha256').digest('base64')}:;x=1`
  assert.equal(readDigests('Repr-Digest', header), [`sha256:${sha256}`])
})

digest('a malformed digest of ours is refused, naming the header', () => {
  for (const header of [
    'sha-256=abc',
    'sha-256=::',
    'sha-256=:aGVsbG8=:',
    'sha-512=:!:',
    `sha-256=${hash('sha256').digest('base64')}`,
  ]) {
    assert.throws(() => readDigests('Repr-Digest', header), /Repr-Digest.*sha-(256|512)/, header)
  }
})

digest.run()
