// xxHash with 32 bits (xxhash_spec.md), which guards the parts of an lz4 frame.

const prime1 = 0x9e3779b1
const prime2 = 0x85ebca77
const prime3 = 0xc2b2ae3d
const prime4 = 0x27d4eb2f
const prime5 = 0x165667b1

function rotated(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}

function round(lane: number, word: number): number {
  return Math.imul(rotated((lane + Math.imul(word, prime2)) | 0, 13), prime1)
}

/** With seed 0; from 0 to 2^32 - 1. */
export function xxHash32(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  let hash = prime5
  if (bytes.length >= 16) {
    let [one, two, three, four] = [(prime1 + prime2) | 0, prime2, 0, -prime1 | 0]
    for (; at + 16 <= bytes.length; at += 16) {
      one = round(one, view.getUint32(at, true))
      two = round(two, view.getUint32(at + 4, true))
      three = round(three, view.getUint32(at + 8, true))
      four = round(four, view.getUint32(at + 12, true))
    }
    hash = rotated(one, 1) + rotated(two, 7) + rotated(three, 12) + rotated(four, 18)
  }
  hash = (hash + bytes.length) | 0
  for (; at + 4 <= bytes.length; at += 4) {
    const word = Math.imul(view.getUint32(at, true), prime3)
    hash = Math.imul(rotated((hash + word) | 0, 17), prime4)
  }
  for (; at < bytes.length; at += 1) {
    const word = Math.imul(bytes[at] ?? 0, prime5)
    hash = Math.imul(rotated((hash + word) | 0, 11), prime1)
  }
  hash = Math.imul(hash ^ (hash >>> 15), prime2)
  hash = Math.imul(hash ^ (hash >>> 13), prime3)
  return (hash ^ (hash >>> 16)) >>> 0
}
