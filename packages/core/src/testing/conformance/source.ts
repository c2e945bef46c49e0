// Sources of bytes for `put` that watch how they are read, fail on purpose, or take their memory
// back as soon as the contract lets them.

import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { eventually, gate } from './case.ts'

/** What a source gives next; undefined is its end. */
export type Pull = () => Promise<Uint8Array | undefined>

/** A source that counts the calls it gets, and notes those that no reader may make. */
export class WatchedSource implements AsyncIterable<Uint8Array> {
  iterators = 0
  pulls = 0
  returns = 0
  readonly faults: string[] = []
  readonly #pull: Pull

  constructor(pull: Pull) {
    this.#pull = pull
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    this.iterators += 1
    let pending = false
    return {
      next: async () => {
        if (pending) this.faults.push('next() before the last next() was over')
        if (this.returns > 0) this.faults.push('next() after return()')
        this.pulls += 1
        pending = true
        try {
          const value = await this.#pull()
          return value === undefined ? { done: true, value } : { done: false, value }
        } finally {
          pending = false
        }
      },
      return: async () => {
        this.returns += 1
        return { done: true, value: undefined }
      },
    }
  }

  /** Read once, one call at a time, and let go at most once. */
  assertReadOnce(): void {
    assert.deepEqual(this.faults, [])
    assert.equal(this.iterators, 1, 'how often the source was asked for an iterator')
    assert.ok(this.returns <= 1, `return() was called ${this.returns} times`)
  }

  /** Let go exactly once, though perhaps after the put has rejected, and not read on. */
  async assertLetGo(): Promise<void> {
    await eventually(() => this.returns > 0, 'put calls return() on the source that it gave up')
    for (let turns = 0; turns < 5; turns += 1) await turn()
    this.assertReadOnce()
  }
}

/** `body` in chunks of that size; `end` is what happens after the last one. */
export function inChunks(
  body: Uint8Array,
  chunkBytes: number = body.length,
  end: () => void = () => undefined,
): WatchedSource {
  let offset = 0
  return new WatchedSource(async () => {
    if (offset >= body.length) {
      end()
      return undefined
    }
    const chunk = body.subarray(offset, offset + chunkBytes)
    offset += chunk.length
    return chunk
  })
}

/** `body` in chunks, and then `error` instead of an end. */
export function failing(body: Uint8Array, chunkBytes: number, error: Error): WatchedSource {
  return inChunks(body, chunkBytes, () => {
    throw error
  })
}

/**
 * `body` by way of one piece of shared memory, which is overwritten in the moment in which the next
 * chunk is asked for: who still uses the last one stores garbage. Also notes writes into a chunk.
 */
export function overwriting(body: Uint8Array, chunkBytes: number): WatchedSource {
  const memory = new Uint8Array(new SharedArrayBuffer(chunkBytes))
  let offset = 0
  let given = 0
  const source = new WatchedSource(async () => {
    const last = body.subarray(offset - given, offset)
    if (Buffer.compare(memory.subarray(0, given), last) !== 0) {
      source.faults.push('put wrote into a chunk that it was given')
    }
    memory.fill(0xee)
    // Whatever was begun on the last chunk now meets the garbage.
    await turn()
    const next = body.subarray(offset, offset + chunkBytes)
    given = next.length
    offset += given
    if (given === 0) return undefined
    memory.set(next)
    return memory.subarray(0, given)
  })
  return source
}

/** Never ends by itself: `chunk` again and again, `each` before every one of them. */
export function endless(chunk: Uint8Array, each: (index: number) => void): WatchedSource {
  let index = 0
  return new WatchedSource(async () => {
    await turn()
    assert.ok(index < 64, 'put reads on after its abort')
    each(index)
    index += 1
    return chunk
  })
}

/** Gives `chunk`, then nothing at all until it is released: a peer that hangs. */
export function stuck(chunk: Uint8Array): {
  source: WatchedSource
  /** Resolves when the source hangs. */
  hangs: Promise<void>
  /** Lets the source end. */
  release: () => void
} {
  const released = gate()
  const hangs = gate()
  let given = false
  const source = new WatchedSource(async () => {
    if (!given) {
      given = true
      return chunk
    }
    hangs.open()
    await released.opened
    return undefined
  })
  return { source, hangs: hangs.opened, release: released.open }
}
