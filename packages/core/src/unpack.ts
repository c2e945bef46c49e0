// Unpacks compressed bytes while they pass: gzip in the threads of Node's zlib, the others in a thread of
// their own. The stream is at most a few pieces ahead of its reader, and fails instead of ending when
// what it unpacks is damaged, cut off, followed by something else, or grows beyond all measure.

import { on } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Bytes } from './backend.ts'
import type { Compression } from './compression.ts'
import { type Code, ImageError, type Reason, isImageError } from './errors.ts'
import { unpackGzip } from './unpack/gzip.ts'
import { pieceBytes } from './ring.ts'

export interface UnpackOptions {
  signal: AbortSignal
  /** The most unpacked bytes that are taken. */
  sizeMax: number
  limits?: UnpackLimits
}

/** What a harmless file stays below: a small one may be many times larger unpacked. */
export interface UnpackLimits {
  /** Unpacked bytes for each packed one. */
  ratioMax: number
  /** The ratio counts once so many unpacked bytes have come. */
  ratioFromBytes: number
}

export const unpackLimits: UnpackLimits = { ratioMax: 500, ratioFromBytes: 2 ** 30 }

/** What a thread is started with. The bell is rung after each order, for it sleeps and hears nothing. */
export interface UnpackStart {
  compression: Compression
  bell: Int32Array
  inputs: Uint8Array[]
  outputs: Uint8Array[]
}

/** To a thread: a filled input, the end of them, or an output that it may fill again. */
export type UnpackOrder =
  | { kind: 'input'; index: number; length: number }
  | { kind: 'end' }
  | { kind: 'free'; index: number }

/** From a thread: an input that may be filled again, a filled output, or how it ended. */
export type UnpackNews =
  | { kind: 'taken'; index: number }
  | { kind: 'output'; index: number; length: number }
  | { kind: 'end' }
  | { kind: 'failed'; message: string; code: Code; reason: Reason }

const inputPieces = 2
const outputPieces = 2

/**
 * What is in `packed`, which is read once. Chunks are valid until the next is asked for, and may be
 * shared memory. Throws what `packed` throws; `too_large` and `unsafe_image` at the limits.
 */
export async function* unpack(
  packed: Bytes,
  compression: Compression,
  { signal, sizeMax, limits = unpackLimits }: UnpackOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  let packedBytes = 0
  async function* counted(): Bytes {
    for await (const chunk of packed) {
      packedBytes += chunk.length
      yield chunk
    }
  }
  const unpacked =
    compression === 'gzip'
      ? unpackGzip(counted(), signal)
      : unpackInThread(counted(), compression, signal)
  let bytes = 0
  for await (const chunk of unpacked) {
    bytes += chunk.length
    assertSize(bytes, sizeMax)
    if (bytes > limits.ratioFromBytes) assertRatio(bytes, packedBytes, limits.ratioMax)
    yield chunk
  }
}

function assertSize(bytes: number, sizeMax: number): void {
  if (bytes <= sizeMax) return
  throw new ImageError(
    'invalid_argument',
    `Unpacked, the image has ${bytes} bytes or more; MAX_IMAGE_SIZE is ${sizeMax}. Nothing was ` +
      'stored: raise it, or send a smaller image.',
    { reason: 'too_large', expected: String(sizeMax), actual: String(bytes) },
  )
}

function assertRatio(bytes: number, packedBytes: number, ratioMax: number): void {
  if (bytes <= packedBytes * ratioMax) return
  throw new ImageError(
    'failed_precondition',
    `${packedBytes} packed bytes have become ${bytes}, over ${ratioMax} times as many, which is more ` +
      'than is unpacked here. Nothing was stored: unpack it yourself and send the image itself, ' +
      'best as qcow2 (`qemu-img convert -O qcow2 FILE NEW`).',
    { reason: 'unsafe_image', expected: `<= ${ratioMax}`, actual: String(bytes / packedBytes) },
  )
}

async function* unpackInThread(
  packed: Bytes,
  compression: Compression,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  signal.throwIfAborted()
  const thread = new Thread(compression)
  const broken = new AbortController()
  const leaving = AbortSignal.any([signal, broken.signal])
  thread.feed(packed).catch((error: unknown) => broken.abort(error))
  try {
    yield* thread.outputs(leaving)
  } catch (error) {
    // The iterator of events has an error of its own for it.
    if (leaving.aborted) throw leaving.reason
    if (isImageError(error)) throw error
    throw new ImageError('internal', 'An unpacking thread has ended.', { cause: error })
  } finally {
    await thread.stop()
  }
}

/** One stream's thread, and the memory that it shares with this one. */
class Thread {
  readonly #worker: Worker
  readonly #bell = new Int32Array(new SharedArrayBuffer(4))
  readonly #inputs = sharedPieces(inputPieces)
  readonly #outputs = sharedPieces(outputPieces)
  readonly #freeInputs = [...this.#inputs.keys()]
  #isStopped = false
  #wakeFeeder: (() => void) | undefined

  constructor(compression: Compression) {
    const workerData: UnpackStart = {
      compression,
      bell: this.#bell,
      inputs: this.#inputs,
      outputs: this.#outputs,
    }
    this.#worker = new Worker(new URL('./unpack-thread.js', import.meta.url), {
      workerData,
      // Its large memory is not that of objects.
      resourceLimits: { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 64 },
    })
    // Who reads is told of it; with nobody listening any more it would end the process.
    this.#worker.on('error', () => {})
  }

  /** Gives the thread all of `packed`, as fast as it takes it. */
  async feed(packed: Bytes): Promise<void> {
    for await (const chunk of packed) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        const index = await this.#freeInput()
        if (index === undefined) return
        const part = chunk.subarray(at, at + pieceBytes)
        this.#inputs[index]?.set(part)
        this.#order({ kind: 'input', index, length: part.length })
      }
    }
    this.#order({ kind: 'end' })
  }

  /** What the thread gives, until it ends. Throws an ImageError where it fails on purpose. */
  async *outputs(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const events = on(this.#worker, 'message', { signal, close: ['exit'] })
    for await (const [news] of events as AsyncIterable<[UnpackNews]>) {
      if (news.kind === 'end') return
      if (news.kind === 'failed') {
        throw new ImageError(news.code, news.message, { reason: news.reason })
      }
      if (news.kind === 'output') {
        yield (this.#outputs[news.index] as Uint8Array).subarray(0, news.length)
        this.#order({ kind: 'free', index: news.index })
      } else {
        this.#freeInputs.push(news.index)
        this.#wakeFeeder?.()
      }
    }
    throw new Error('It ended early.')
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    this.#wakeFeeder?.()
    await this.#worker.terminate()
  }

  async #freeInput(): Promise<number | undefined> {
    while (!this.#isStopped && this.#freeInputs.length === 0) {
      await new Promise<void>((resolve) => (this.#wakeFeeder = resolve))
    }
    return this.#isStopped ? undefined : this.#freeInputs.pop()
  }

  #order(order: UnpackOrder): void {
    this.#worker.postMessage(order)
    Atomics.add(this.#bell, 0, 1)
    Atomics.notify(this.#bell, 0)
  }
}

function sharedPieces(count: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(new SharedArrayBuffer(pieceBytes)))
}
