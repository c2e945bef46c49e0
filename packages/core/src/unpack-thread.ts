// The thread of one stream of unpack.ts. It sleeps whenever it has to wait, for decoders that are plain
// loops are simple and fast: they ask for input and give output in the middle of their work.

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { unpackBzip2 } from './unpack/bzip2.ts'
import { isImageError } from './errors.ts'
import type { UnpackNews, UnpackOrder, UnpackStart } from './unpack.ts'
import { unpackXz } from './unpack/xz.ts'
import { loadZstd, unpackZstd } from './unpack/zstd.ts'

const { compression, bell, inputs, outputs } = workerData as UnpackStart
const free = [...outputs.keys()]
const waiting: Exclude<UnpackOrder, { kind: 'free' }>[] = []

/** Sleeps until there is an order, and files it. */
function hear(): void {
  for (;;) {
    const rung = Atomics.load(bell, 0)
    const received = parentPort && receiveMessageOnPort(parentPort)
    if (!received) {
      // Wakes at once if it was rung since.
      Atomics.wait(bell, 0, rung)
      continue
    }
    const order = received.message as UnpackOrder
    if (order.kind === 'free') free.push(order.index)
    else waiting.push(order)
    return
  }
}

function tell(news: UnpackNews): void {
  parentPort?.postMessage(news)
}

/** Chunks that are valid until the next is asked for. */
function* packed(): Generator<Uint8Array, void, undefined> {
  for (;;) {
    while (waiting.length === 0) hear()
    const order = waiting.shift()
    if (order?.kind !== 'input') return
    yield (inputs[order.index] as Uint8Array).subarray(0, order.length)
    tell({ kind: 'taken', index: order.index })
  }
}

async function unpacked(): Promise<Iterable<Uint8Array> | AsyncIterable<Uint8Array>> {
  if (compression === 'zstd') return unpackZstd(await loadZstd(), packed())
  return compression === 'xz' ? unpackXz(packed()) : unpackBzip2(packed())
}

async function run(): Promise<void> {
  let used = 0
  for await (const chunk of await unpacked()) {
    for (let at = 0; at < chunk.length;) {
      while (free.length === 0) hear()
      const index = free[0] as number
      const output = outputs[index] as Uint8Array
      const part = chunk.subarray(at, at + output.length - used)
      output.set(part, used)
      at += part.length
      used += part.length
      if (used === output.length) flush()
    }
  }
  flush()

  function flush(): void {
    const index = used > 0 ? free.shift() : undefined
    if (index !== undefined) tell({ kind: 'output', index, length: used })
    used = 0
  }
}

try {
  await run()
  tell({ kind: 'end' })
} catch (error) {
  // What is no ImageError is a bug, and ends the thread with it.
  if (!isImageError(error)) throw error
  const { message, code, reason } = error
  tell({ kind: 'failed', message, code, reason })
}
