// Image bodies and choices that are the same for one seed.

import { createCipheriv, createHash } from 'node:crypto'

const kibibyte = 1024
const mebibyte = 1024 * kibibyte
const cipherBlockBytes = 16
const pieceBytes = 256 * kibibyte

/** Numbers in [0, 1), always the same for one seed (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function between(random, least, most) {
  return least + Math.floor(random() * (most - least + 1))
}

export function pick(random, choices) {
  return choices[Math.floor(random() * choices.length)]
}

/** Bytes that look random and are those of `label`. */
export function randomBody(label, size) {
  return cipherOf(label, 0).update(Buffer.alloc(size))
}

/** The same bytes from the byte `from` on, in pieces, of which no two are in memory. */
export function* bodyPieces(label, size, from = 0) {
  const skipped = from % cipherBlockBytes
  const cipher = cipherOf(label, Math.floor(from / cipherBlockBytes))
  cipher.update(Buffer.alloc(skipped))
  for (let at = from; at < size; at += pieceBytes) {
    yield cipher.update(Buffer.alloc(Math.min(pieceBytes, size - at)))
  }
}

/** Counter mode: the key stream of a block needs no other block. */
function cipherOf(label, block) {
  const key = createHash('sha256').update(label).digest().subarray(0, 16)
  const counter = Buffer.alloc(cipherBlockBytes)
  counter.writeBigUInt64BE(BigInt(block), 8)
  return createCipheriv('aes-128-ctr', key, counter)
}

/** Zeros with a few pieces of data, at odd places too. */
export function sparseBody(label, size, random) {
  const body = Buffer.alloc(size)
  for (let count = between(random, 1, 4); count > 0; count -= 1) {
    const piece = randomBody(`${label} ${count}`, between(random, 1, 60 * kibibyte))
    piece.copy(body, between(random, 0, Math.max(0, size - piece.length)))
  }
  return body
}

/** From 0.1 to `largestMiB`, mostly small; a part of them sparse, a part of odd length. */
export function chooseBody(label, random, largestMiB) {
  const most = Math.min(largestMiB, pick(random, [0.5, 0.5, 0.5, 2, 2, 8])) * mebibyte
  const size = between(random, 0.1 * mebibyte, most)
  const rounded = random() < 0.5 ? size - (size % 512) : size
  return random() < 0.3 ? sparseBody(label, rounded, random) : randomBody(label, rounded)
}

/** A body that others send, too, under any name: a store keeps it once. */
export function commonBody(random) {
  const number = between(random, 1, 3)
  return randomBody(`common ${number}`, number * 100 * kibibyte)
}
