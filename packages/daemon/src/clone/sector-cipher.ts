// The sectors of an encrypted disk as the kernel's dm-crypt writes them: AES in XTS or CBC, each sector by
// itself, with its number as the tweak or vector. A cipher object for each sector would take most of the
// time, so a piece goes through AES at once and what belongs to single sectors is mixed in here.

import {
  type Cipher,
  type Decipher,
  createCipheriv,
  createDecipheriv,
  createHash,
} from 'node:crypto'
import { ImageError } from '@backing-image/core'

/** Sectors are counted in these, however long they are themselves. */
export const unitBytes = 512
const blockBytes = 16
const words = blockBytes / 4
const zeroVector = Buffer.alloc(blockBytes)
const names = /^aes-(?:xts-plain(?:64)?|cbc-(?:plain(?:64)?|essiv:sha256))$/
const keyBitsOf = { xts: [256, 512], cbc: [128, 192, 256] }

export interface SectorCipher {
  /** Of whole sectors; the first is `unit` times 512 bytes after the start. In memory of its own. */
  encrypt(bytes: Uint8Array, unit: number): Uint8Array
  /** As `encrypt`. */
  decrypt(bytes: Uint8Array, unit: number): Uint8Array
}

/** The numbers of sectors as one block each: what makes every one of them another. */
type Vectors = (unit: number, count: number) => Buffer

/** Throws `invalid_argument` for what is not encrypted here: dm-crypt's name of a cipher, and a key. */
export function assertCipher(name: string, keyBits: number): void {
  if (!names.test(name)) {
    throw new ImageError(
      'invalid_argument',
      `The cipher ${JSON.stringify(name.slice(0, 80))} is not supported: aes-xts-plain64, aes-xts-plain, ` +
        'aes-cbc-plain64, aes-cbc-plain or aes-cbc-essiv:sha256 is expected.',
    )
  }
  const allowed = keyBitsOf[modeOf(name)]
  if (allowed.includes(keyBits)) return
  throw new ImageError(
    'invalid_argument',
    `${name} has no keys of ${keyBits} bits: ${allowed.join(', ')} are possible.`,
  )
}

/** Throws as `assertCipher` does. `sectorBytes` is a multiple of 512. */
export function sectorCipher(name: string, key: Uint8Array, sectorBytes: number): SectorCipher {
  assertCipher(name, key.length * 8)
  const numbers: Vectors = (unit, count) => {
    const vectors = Buffer.alloc(count * blockBytes)
    for (let index = 0; index < count; index += 1) {
      const number = unit + index * (sectorBytes / unitBytes)
      vectors.writeUInt32LE(number % 2 ** 32, index * blockBytes)
      // "plain" has 32 bits of the number, and begins again after 2 TiB.
      if (name.endsWith('-plain')) continue
      vectors.writeUInt32LE(Math.floor(number / 2 ** 32), index * blockBytes + 4)
    }
    return vectors
  }
  if (modeOf(name) === 'xts') return xts(key, sectorBytes, numbers)
  if (!name.endsWith('essiv:sha256')) return cbc(key, sectorBytes, numbers)
  const salt = ecb(createHash('sha256').update(key).digest()).encrypt
  return cbc(key, sectorBytes, (unit, count) => salt.update(numbers(unit, count)))
}

function modeOf(name: string): 'xts' | 'cbc' {
  return name.startsWith('aes-xts') ? 'xts' : 'cbc'
}

/** AES block by block: it keeps nothing from one call to the next. */
function ecb(key: Uint8Array): { encrypt: Cipher; decrypt: Decipher } {
  const name = `aes-${key.length * 8}-ecb`
  return {
    encrypt: createCipheriv(name, key, null).setAutoPadding(false),
    decrypt: createDecipheriv(name, key, null).setAutoPadding(false),
  }
}

/** IEEE 1619 §5: the first half of the key is for the data, the other for the tweaks. */
function xts(key: Uint8Array, sectorBytes: number, numbers: Vectors): SectorCipher {
  const data = ecb(key.subarray(0, key.length / 2))
  const tweaking = ecb(key.subarray(key.length / 2)).encrypt
  const pass = (aes: Cipher | Decipher, bytes: Uint8Array, unit: number): Uint8Array => {
    const count = bytes.length / sectorBytes
    const tweaks = tweaksOf(tweaking.update(numbers(unit, count)), sectorBytes)
    const mixed = mix(bytes, tweaks)
    return mix(aes.update(mixed), tweaks)
  }
  return {
    encrypt: (bytes, unit) => pass(data.encrypt, bytes, unit),
    decrypt: (bytes, unit) => pass(data.decrypt, bytes, unit),
  }
}

/** IEEE 1619 §5.2: the tweak of each block is the one before it times α, in GF(2^128). */
function tweaksOf(firsts: Buffer, sectorBytes: number): Int32Array {
  const tweaks = new Int32Array((firsts.length / blockBytes) * (sectorBytes / 4))
  let at = 0
  for (let first = 0; first < firsts.length; first += blockBytes) {
    let a = firsts.readInt32LE(first)
    let b = firsts.readInt32LE(first + 4)
    let c = firsts.readInt32LE(first + 8)
    let d = firsts.readInt32LE(first + 12)
    for (const end = at + sectorBytes / 4; at < end; at += words) {
      tweaks[at] = a
      tweaks[at + 1] = b
      tweaks[at + 2] = c
      tweaks[at + 3] = d
      const carried = (d >> 31) & 0x87
      d = (d << 1) | (c >>> 31)
      c = (c << 1) | (b >>> 31)
      b = (b << 1) | (a >>> 31)
      a = (a << 1) ^ carried
    }
  }
  return tweaks
}

/** Both, by exclusive or. */
function mix(bytes: Uint8Array, tweaks: Int32Array): Uint8Array {
  const isAligned = bytes.byteOffset % 4 === 0
  const from = isAligned ? bytes : Uint8Array.from(bytes)
  const given = new Int32Array(from.buffer, from.byteOffset, tweaks.length)
  const mixed = new Int32Array(tweaks.length)
  for (let at = 0; at < mixed.length; at += 1) mixed[at] = (given[at] ?? 0) ^ (tweaks[at] ?? 0)
  return new Uint8Array(mixed.buffer)
}

/** NIST SP 800-38A §6.2, anew in each sector. */
function cbc(key: Uint8Array, sectorBytes: number, vectors: Vectors): SectorCipher {
  const name = `aes-${key.length * 8}-cbc`
  return {
    encrypt(bytes, unit) {
      const made = Buffer.allocUnsafeSlow(bytes.length)
      const ivs = vectors(unit, bytes.length / sectorBytes)
      const cipher = createCipheriv(name, key, zeroVector).setAutoPadding(false)
      const sector = Buffer.allocUnsafeSlow(sectorBytes)
      let last = zeroVector
      for (let at = 0, iv = 0; at < bytes.length; at += sectorBytes, iv += blockBytes) {
        sector.set(bytes.subarray(at, at + sectorBytes))
        // The chain would go on from the sector before: that is taken out again.
        mixInto(sector, 0, last, 0)
        mixInto(sector, 0, ivs, iv)
        const encrypted = cipher.update(sector)
        made.set(encrypted, at)
        last = encrypted.subarray(-blockBytes)
      }
      return made
    },
    decrypt(bytes, unit) {
      const ivs = vectors(unit, bytes.length / sectorBytes)
      const decipher = createDecipheriv(name, key, zeroVector).setAutoPadding(false)
      const made = decipher.update(bytes)
      for (let at = 0, iv = 0; at < bytes.length; at += sectorBytes, iv += blockBytes) {
        if (at > 0) mixInto(made, at, bytes, at - blockBytes)
        mixInto(made, at, ivs, iv)
      }
      return made
    },
  }
}

function mixInto(target: Uint8Array, at: number, block: Uint8Array, from: number): void {
  for (let index = 0; index < blockBytes; index += 1) {
    target[at + index] = (target[at + index] ?? 0) ^ (block[from + index] ?? 0)
  }
}
