// The sectors against the published vectors, and against OpenSSL's own modes, a sector at a time. What the
// kernel and QEMU make of them is tried in e2e/daemon-clone.test.js.

import { createCipheriv, createHash, randomBytes } from 'node:crypto'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { assertCipher, sectorCipher } from './sector-cipher.ts'

const sectors = suite('the sectors of encrypted disks')

/** IEEE 1619-2007, annex B: vectors 4 and 10, of which the first two blocks are shown. */
const published = [
  {
    key: '2718281828459045235360287471352631415926535897932384626433832795',
    unit: 0,
    begins: '27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c',
  },
  {
    key:
      '2718281828459045235360287471352662497757247093699959574966967627' +
      '3141592653589793238462643383279502884197169399375105820974944592',
    unit: 0xff,
    begins: '1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b',
  },
]
for (const { key, unit, begins } of published) {
  sectors(`the vector of IEEE 1619 for ${(key.length / 2) * 8} bits is kept`, () => {
    const plain = Buffer.from(Array.from({ length: 512 }, (_, index) => index % 256))
    const made = sectorCipher('aes-xts-plain64', Buffer.from(key, 'hex'), 512).encrypt(plain, unit)
    assert.is(Buffer.from(made).toString('hex').slice(0, begins.length), begins)
  })
}

/** The number of a sector as a block; `bytes` of it are used. */
function numberBlock(number: bigint, bytes: number): Buffer {
  const block = Buffer.alloc(16)
  block.writeBigUInt64LE(BigInt.asUintN(bytes * 8, number))
  return block
}

const plain64 = (number: bigint): Buffer => numberBlock(number, 8)
const plain = (number: bigint): Buffer => numberBlock(number, 4)

function essiv(number: bigint, key: Buffer): Buffer {
  const salt = createHash('sha256').update(key).digest()
  return createCipheriv('aes-256-ecb', salt, null).update(plain64(number))
}

const kinds: [string, number, string, (number: bigint, key: Buffer) => Buffer][] = [
  ['aes-xts-plain64', 256, 'aes-128-xts', plain64],
  ['aes-xts-plain64', 512, 'aes-256-xts', plain64],
  ['aes-xts-plain', 256, 'aes-128-xts', plain],
  ['aes-cbc-plain64', 128, 'aes-128-cbc', plain64],
  ['aes-cbc-plain', 192, 'aes-192-cbc', plain],
  ['aes-cbc-essiv:sha256', 256, 'aes-256-cbc', essiv],
]
for (const [name, keyBits, algorithm, vectorOf] of kinds) {
  for (const sectorBytes of [512, 4096]) {
    sectors(`${name} with ${keyBits} bits is that of OpenSSL in sectors of ${sectorBytes}`, () => {
      const key = randomBytes(keyBits / 8)
      const content = randomBytes(sectorBytes * 9)
      // Also past 2 TiB, where 32 bits of a number are not enough.
      for (const unit of [0, 24, 2 ** 32 - 16, 2 ** 45]) {
        const expected: Buffer[] = []
        for (let at = 0; at < content.length; at += sectorBytes) {
          const iv = vectorOf(BigInt(unit + at / 512), key)
          const cipher = createCipheriv(algorithm, key, iv).setAutoPadding(false)
          expected.push(cipher.update(content.subarray(at, at + sectorBytes)))
        }
        const cipher = sectorCipher(name, key, sectorBytes)
        const made = cipher.encrypt(content, unit)
        assert.ok(Buffer.concat(expected).equals(made), `from unit ${unit} on`)
        assert.ok(content.equals(cipher.decrypt(made, unit)))
      }
    })
  }
}

sectors('bytes that begin anywhere in memory, and in several pieces, become the same', () => {
  const key = randomBytes(32)
  for (const name of ['aes-xts-plain64', 'aes-cbc-essiv:sha256']) {
    const cipher = sectorCipher(name, key, 512)
    const content = randomBytes(2048)
    const whole = cipher.encrypt(content, 7)
    const shifted = Buffer.concat([Buffer.alloc(1), content]).subarray(1)
    const pieces = [
      cipher.encrypt(shifted.subarray(0, 512), 7),
      cipher.encrypt(shifted.subarray(512), 8),
    ]
    assert.ok(Buffer.concat(pieces).equals(whole), name)
    assert.ok(content.equals(shifted), 'what was given stays as it was')
  }
})

sectors('what is not known is refused, with what is', () => {
  for (const [name, keyBits, words] of [
    ['serpent-xts-plain64', 256, /serpent.*aes-xts-plain64/],
    ['aes-xts-plain64be', 256, /not supported/],
    ['aes-xts-essiv:sha256', 256, /not supported/],
    ['', 256, /not supported/],
    ['aes-xts-plain64', 128, /no keys of 128 bits: 256, 512/],
    ['aes-cbc-plain64', 512, /no keys of 512 bits: 128, 192, 256/],
    ['aes-cbc-plain64', Number.NaN, /no keys of NaN bits/],
  ] as const) {
    try {
      assertCipher(name, keyBits)
      assert.unreachable(`${name} was taken`)
    } catch (error) {
      assert.ok(isImageError(error, 'invalid_argument'))
      assert.match(error.message, words)
    }
  }
})

sectors.run()
