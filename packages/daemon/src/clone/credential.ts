// How an image is to be encrypted, by the names that Longhorn's secrets have (contract §3.7).

import { ImageError } from '@backing-image/core'
import { assertCipher } from './sector-cipher.ts'

export interface Encryption {
  cipher: string
  hash: string
  keyBits: number
  pbkdf: string
  /** Of the derivation of the key; cryptsetup decides where it is empty. */
  iterations: string
  memoryKiB: string
}

const keyFunctions = ['pbkdf2', 'argon2i', 'argon2id']

/** Throws `invalid_argument` unless there is one, from where one is taken. */
export function passphraseOf(credential: Readonly<Record<string, string>>): string {
  const { CRYPTO_KEY_PROVIDER: provider = '', CRYPTO_KEY_VALUE: passphrase = '' } = credential
  if (provider !== '' && provider !== 'secret') {
    const given = provider.slice(0, 80)
    throw wrong(`unsupported key provider ${given} for encryption: CRYPTO_KEY_PROVIDER is "secret"`)
  }
  if (passphrase !== '') return passphrase
  throw wrong('missing passphrase for encryption: the secret has no CRYPTO_KEY_VALUE')
}

/** Throws `invalid_argument` for what cryptsetup must not be told, and what is not encrypted here. */
export function encryptionOf(credential: Readonly<Record<string, string>>): Encryption {
  const given = (name: string, usual: string): string => credential[name] || usual
  const encryption = {
    cipher: given('CRYPTO_KEY_CIPHER', 'aes-xts-plain64'),
    hash: given('CRYPTO_KEY_HASH', 'sha256'),
    keyBits: Number(given('CRYPTO_KEY_SIZE', '256')),
    pbkdf: given('CRYPTO_PBKDF', 'argon2i'),
    iterations: given('CRYPTO_PBKDF_FORCE_ITERATIONS', ''),
    memoryKiB: given('CRYPTO_PBKDF_MEMORY', ''),
  }
  assertCipher(encryption.cipher, encryption.keyBits)
  if (!/^[a-z0-9][a-z0-9-]{0,31}$/i.test(encryption.hash)) throw wrong('CRYPTO_KEY_HASH is no hash')
  if (!keyFunctions.includes(encryption.pbkdf)) {
    throw wrong(`CRYPTO_PBKDF is none of ${keyFunctions.join(', ')}`)
  }
  for (const [name, number] of [
    ['CRYPTO_PBKDF_FORCE_ITERATIONS', encryption.iterations],
    ['CRYPTO_PBKDF_MEMORY', encryption.memoryKiB],
  ] as const) {
    if (!/^\d{0,10}$/.test(number)) throw wrong(`${name} is no whole number`)
  }
  return encryption
}

function wrong(message: string): ImageError {
  return new ImageError('invalid_argument', message)
}
