// What can not be cloned, and that it is said why.

import { randomBytes } from 'node:crypto'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { failure, metadataOf, passphrase, rigged } from './testing/rig.ts'

const clones = suite('clones that are refused')

const headerBytes = 16 * 1024 * 1024
const content: Buffer = randomBytes(4096)

const refused: [string, Record<string, string>, RegExp][] = [
  ['encrypt', {}, /missing passphrase for encryption/],
  ['decrypt', {}, /missing passphrase for encryption/],
  ['encrypt', { CRYPTO_KEY_PROVIDER: 'vault' }, /unsupported key provider vault for encryption/],
  ['decrypt', { CRYPTO_KEY_PROVIDER: 'vault' }, /unsupported key provider vault for encryption/],
  ['encrypt', { CRYPTO_KEY_CIPHER: 'serpent-xts-plain64' }, /serpent.*not supported/],
  ['encrypt', { CRYPTO_KEY_SIZE: '384' }, /no keys of 384 bits/],
  ['encrypt', { CRYPTO_KEY_SIZE: '256 --debug' }, /no keys of NaN bits/],
  ['encrypt', { CRYPTO_KEY_HASH: '--debug' }, /CRYPTO_KEY_HASH/],
  ['encrypt', { CRYPTO_PBKDF: 'scrypt' }, /CRYPTO_PBKDF is none of pbkdf2/],
  ['encrypt', { CRYPTO_PBKDF_FORCE_ITERATIONS: 'many' }, /ITERATIONS is no whole/],
  ['encrypt', { CRYPTO_PBKDF_MEMORY: '-1' }, /MEMORY is no whole/],
  ['disguise', {}, /encryption operation "disguise" is not specified/],
]
for (const [encryption, credential, words] of refused) {
  clones(
    `${encryption} with ${JSON.stringify(credential)} is refused before anything is done`,
    rigged(async (rig) => {
      const isEmpty = Object.keys(credential).length === 0
      const given = isEmpty ? credential : { CRYPTO_KEY_VALUE: passphrase, ...credential }
      const error = await failure(rig.clone(encryption, content, given))
      assert.ok(isImageError(error, 'invalid_argument'), error.message)
      assert.match(error.message, words)
      for (const what of ['format', 'dump']) {
        assert.match((await failure(rig.seen(what))).message, 'ENOENT')
      }
    }),
  )
}

const luks = Buffer.alloc(headerBytes + 4096)
luks.write('LUKS\xba\xbe\x00\x02', 'latin1')
const first: Buffer = Buffer.from(luks)
first.writeUInt8(1, 7)
const unusable: [string, string, Buffer, unknown, RegExp][] = [
  ['a disk of half a sector', 'encrypt', Buffer.alloc(1000), metadataOf(), /1000 bytes.* of 512/],
  ['an empty disk', 'encrypt', Buffer.alloc(0), metadataOf(), /0 bytes/],
  ['what is not encrypted', 'decrypt', content, metadataOf(), /LUKS2 is expected/],
  ['LUKS1', 'decrypt', first, metadataOf(), /LUKS2 is expected/],
  ['a header alone', 'decrypt', luks.subarray(0, headerBytes), metadataOf(), /0 bytes/],
  ['a cut one', 'decrypt', luks.subarray(0, 99 * 512), metadataOf(), /-\d+ bytes/],
  ['half a sector', 'decrypt', luks.subarray(0, -1), metadataOf(), /4095 bytes/],
  ['integrity', 'decrypt', luks, metadataOf({ integrity: { type: 'hmac' } }), /checksums/],
  [
    'a changing one',
    'decrypt',
    luks,
    metadataOf({}, { requirements: { mandatory: ['x'] } }),
    /chang/,
  ],
  ['a length', 'decrypt', luks, metadataOf({ size: '512' }), /expected/],
  ['no segment', 'decrypt', luks, {}, /expected/],
  ['no offset', 'decrypt', luks, metadataOf({ offset: 'far' }), /understood/],
  ['a far tweak', 'decrypt', luks, metadataOf({ iv_tweak: '18446744073709551615' }), /understood/],
  ['odd sectors', 'decrypt', luks, metadataOf({ sector_size: 520 }), /understood/],
  ['another cipher', 'decrypt', luks, metadataOf({ encryption: 'xchacha20' }), /not supported/],
]
for (const [what, encryption, source, metadata, words] of unusable) {
  clones(
    `to ${encryption} ${what} is refused`,
    rigged(async (rig) => {
      await rig.tell(metadata)
      const error = await failure(rig.clone(encryption, source))
      assert.ok(isImageError(error, 'failed_precondition', 'invalid_argument'), error.message)
      assert.match(error.message, words)
    }),
  )
}

clones.run()
