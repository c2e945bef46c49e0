// A thread of hasher.ts: keeps the hashes of its streams and feeds them shared pieces.

import { type Hash, createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { sectorBytes } from './aligned.ts'
import { BlockHash } from './blocks.ts'
import type { HashOrder, HashReply, Wanted } from './hasher.ts'

const hashes = new Map<string, { hash: Hash | BlockHash; length: number }>()
const zeros = Buffer.alloc(sectorBytes)

parentPort?.on('message', (order: HashOrder) => {
  const { algorithm } = order
  const key = `${order.stream} ${algorithm}`
  const reply: HashReply = {}
  if (order.kind === 'drop') {
    hashes.delete(key)
  } else {
    const stream = hashes.get(key) ?? { hash: hashOf(algorithm), length: 0 }
    const { hash } = stream
    if (order.kind === 'update' && order.piece) {
      const bytes = new Uint8Array(order.piece.memory, order.piece.offset, order.length)
      hash.update(bytes)
      stream.length += bytes.length
      hashes.set(key, stream)
    } else {
      hashes.delete(key)
      if (hash instanceof BlockHash) reply.blocks = hash.digest()
      else {
        const rest = stream.length % sectorBytes
        if (rest > 0) reply.aligned = hash.copy().update(zeros.subarray(rest)).digest('hex')
        reply.digest = hash.digest('hex')
      }
    }
  }
  parentPort?.postMessage(reply)
})

function hashOf(wanted: Wanted): Hash | BlockHash {
  return wanted === 'blocks' ? new BlockHash() : createHash(wanted)
}
