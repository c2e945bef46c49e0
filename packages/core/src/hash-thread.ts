// A thread of hasher.ts: keeps the hashes of its streams and feeds them shared pieces.

import { type Hash, createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'
import { BlockHash } from './blocks.ts'
import type { HashOrder, HashReply } from './hasher.ts'

const hashes = new Map<string, Hash | BlockHash>()

parentPort?.on('message', (order: HashOrder) => {
  const { algorithm } = order
  const key = `${order.stream} ${algorithm}`
  const reply: HashReply = {}
  if (order.kind === 'drop') {
    hashes.delete(key)
  } else {
    const hash =
      hashes.get(key) ?? (algorithm === 'blocks' ? new BlockHash() : createHash(algorithm))
    if (order.kind === 'update' && order.piece) {
      hash.update(new Uint8Array(order.piece.memory, order.piece.offset, order.length))
      hashes.set(key, hash)
    } else {
      hashes.delete(key)
      if (hash instanceof BlockHash) reply.blocks = hash.digest()
      else reply.digest = hash.digest('hex')
    }
  }
  parentPort?.postMessage(reply)
})
