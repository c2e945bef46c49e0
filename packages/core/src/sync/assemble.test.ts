// The bytes of a plan: right and in order from wherever they begin and come, several at a time but not
// too many, and nothing goes on when nobody reads.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Range, bytesOf } from '../backend.ts'
import { blockBytes } from '../blocks.ts'
import { ImageError } from '../errors.ts'
import { content } from '../testing/conformance/case.ts'
import { failure, latch } from '../testing/rig.ts'
import { type Assembling, type Block, assemble } from './assemble.ts'
import { Plan } from './plan.ts'
import { indexOf } from './testing/manager.ts'

const assembling = suite('the bytes of a sync')

const tail = 1000

function imageOf(...seeds: number[]): Buffer {
  const blocks = seeds.map((seed) =>
    seed === 0 ? Buffer.alloc(blockBytes) : content(blockBytes, seed),
  )
  return Buffer.concat(blocks).subarray(0, (seeds.length - 1) * blockBytes + tail)
}

function spoil(bytes: Uint8Array, at: number): void {
  bytes[at] = 255 - (bytes[at] ?? 0)
}

interface Rig {
  image: Buffer
  own: Buffer
  /** What was asked of the wire, in order. */
  fetched: Range[]
  read: Range[]
  troubles: Error[]
  stop: AbortController
  /** Given all that, with some of it changed. */
  begin(more?: Partial<Assembling>): AsyncIterableIterator<Uint8Array>
}

/** An image of which the own object has the blocks that are in both. */
function rigOf(image: Buffer, own: Buffer = Buffer.alloc(0), held: Buffer = own): Rig {
  const plan = new Plan(image.length, indexOf(image))
  plan.hold('own', indexOf(held))
  const rig: Rig = {
    image,
    own,
    fetched: [],
    read: [],
    troubles: [],
    stop: new AbortController(),
    begin: (more = {}) =>
      assemble({
        plan,
        offset: 0,
        readOwn: async (_, range) => {
          rig.read.push(range)
          return bytesOf(own.subarray(range.start, range.end + 1))
        },
        fetch: async (range) => partOf(rig, range),
        signal: rig.stop.signal,
        onTrouble: (error) => rig.troubles.push(error),
        ...more,
      }),
  }
  return rig
}

function partOf({ image, fetched }: Rig, range: Range): Block {
  fetched.push(range)
  return Uint8Array.from(image.subarray(range.start, range.end + 1))
}

async function all(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Buffer[] = []
  // Each is lent.
  for await (const chunk of bytes) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

assembling('zeros, own blocks and fetched ones make the image, from any byte on', async () => {
  const image = imageOf(1, 0, 2, 3, 0, 0, 4, 1)
  const rig = rigOf(image, imageOf(9, 3, 1))
  for (const offset of [
    0,
    1,
    blockBytes,
    3 * blockBytes + 77,
    7 * blockBytes + 999,
    image.length,
  ]) {
    const bytes = await all(rig.begin({ offset }))
    assert.ok(bytes.equals(image.subarray(offset)), `from ${offset}`)
  }
  assert.equal(rig.troubles, [])
})

assembling('only what is neither zeros nor held is fetched, each block once', async () => {
  const rig = rigOf(imageOf(1, 0, 2, 3, 0, 4), imageOf(3, 9))
  await all(rig.begin())
  assert.equal(
    rig.fetched.map(({ start, end }) => [start / blockBytes, end + 1 - start]),
    [
      [0, blockBytes],
      [2, blockBytes],
      [5, tail],
    ],
  )
  assert.equal(rig.read, [{ start: 0, end: blockBytes - 1 }])
})

assembling(
  'an own block that is not what its index says is fetched, and told of once',
  async () => {
    const image = imageOf(1, 2, 3, 9)
    const held = imageOf(3, 2, 1, 8)
    const spoilt = Buffer.from(held)
    spoil(spoilt, 5)
    spoil(spoilt, blockBytes + 5)
    const rig = rigOf(image, spoilt, held)
    assert.ok((await all(rig.begin())).equals(image))
    const fetched = rig.fetched.map(({ start }) => start / blockBytes)
    assert.equal(new Set(fetched), new Set([1, 2, 3]))
    assert.is(fetched.length, 3)
    assert.is(rig.troubles.length, 1)
    assert.match(rig.troubles[0]?.message ?? '', /own is not what its block index says/)
  },
)

assembling('an own object that is gone, or fails, is done without', async () => {
  const image = imageOf(1, 2)
  for (const [code, troubles] of [
    ['not_found', 0],
    ['unavailable', 1],
  ] as const) {
    const rig = rigOf(image, imageOf(1, 9))
    const readOwn = async () => {
      throw new ImageError(code, 'no')
    }
    assert.ok((await all(rig.begin({ readOwn }))).equals(image))
    assert.is(rig.troubles.length, troubles)
  }
})

assembling('a block that comes wrong is asked for once more', async () => {
  const image = imageOf(1, 2)
  const rig = rigOf(image)
  let tries = 0
  const fetch = async (range: Range) => {
    const part = partOf(rig, range)
    if (range.start === 0 && ++tries === 1) spoil(part, 7)
    return part
  }
  assert.ok((await all(rig.begin({ fetch }))).equals(image))
  assert.is(rig.fetched.length, 3)
})

assembling('a block that comes wrong again ends it, with its place', async () => {
  const rig = rigOf(imageOf(1, 2, 3))
  const fetch = async (range: Range) => {
    const part = partOf(rig, range)
    if (range.start === blockBytes) spoil(part, 7)
    return part
  }
  const error = await failure(all(rig.begin({ fetch })))
  assert.equal([error.code, error.reason], ['data_loss', 'checksum_mismatch'])
  assert.match(error.message, `Bytes ${blockBytes} to ${2 * blockBytes - 1}`)
})

assembling('several blocks are on their way at a time, and no more than that', async () => {
  const image = imageOf(1, 2, 3, 4, 5, 6, 7, 8, 9)
  const rig = rigOf(image)
  const go = latch()
  let atOnce = 0
  const most = { fetches: 0 }
  const fetch = async (range: Range) => {
    most.fetches = Math.max(most.fetches, ++atOnce)
    await go.opened
    atOnce -= 1
    return partOf(rig, range)
  }
  const bytes = rig.begin({ fetch })
  const first = bytes.next()
  while (most.fetches < 4) await pause(5)
  go.open()
  await first
  // Nobody reads on: so many wait in memory, and no more are asked for.
  while (rig.fetched.length < 5) await pause(5)
  await pause(50)
  assert.is(rig.fetched.length, 5)
  const rest = await all(bytes)
  assert.is(rest.length, image.length - blockBytes)
  assert.is(most.fetches, 4)
})

assembling('what is behind a long stretch of zeros is on its way from the beginning', async () => {
  const rig = rigOf(imageOf(0, 0, 0, 0, 0, 0, 0, 1))
  const bytes = rig.begin()
  await bytes.next()
  assert.is(rig.fetched.length, 1)
  await bytes.return?.()
})

/** A fetch that never ends by itself; `ended` settles when it has been told to. */
function hanging(): { fetch: Assembling['fetch']; ended: Promise<unknown>; begun: Promise<void> } {
  const begun = latch()
  let tell: ((reason: unknown) => void) | undefined
  const ended = new Promise<unknown>((resolve) => (tell = resolve))
  const fetch: Assembling['fetch'] = (_, signal) => {
    begun.open()
    return new Promise((__, reject) => {
      signal.addEventListener('abort', () => {
        tell?.(signal.reason)
        reject(signal.reason)
      })
    })
  }
  return { fetch, ended, begun: begun.opened }
}

assembling('who leaves ends what is under way, also while a chunk is awaited', async () => {
  const rig = rigOf(imageOf(1, 2))
  const { fetch, ended, begun } = hanging()
  const bytes = rig.begin({ fetch })
  const next = bytes.next().catch((error: unknown) => error)
  await begun
  await bytes.return?.()
  assert.instance(await ended, ImageError)
  assert.instance(await next, ImageError)
  assert.equal(await bytes.next(), { done: true, value: undefined })
})

assembling('who was never begun does nothing', async () => {
  const rig = rigOf(imageOf(1, 2))
  const bytes = rig.begin()
  await bytes.return?.()
  assert.equal(await bytes.next(), { done: true, value: undefined })
  assert.equal(rig.fetched, [])
})

assembling('called off it rejects with the reason', async () => {
  const rig = rigOf(imageOf(1, 2))
  const { fetch, begun } = hanging()
  const work = all(rig.begin({ fetch })).catch((error: unknown) => error)
  await begun
  const reason = new Error('called off')
  rig.stop.abort(reason)
  assert.is(await work, reason)
})

assembling('one failure ends all that is under way', async () => {
  const rig = rigOf(imageOf(1, 2, 3))
  const { fetch: hang, ended } = hanging()
  const reason = new ImageError('invalid_argument', 'no')
  const fetch: Assembling['fetch'] = async (range, signal) => {
    if (range.start === 0) throw reason
    return await hang(range, signal)
  }
  assert.is(await all(rig.begin({ fetch })).catch((error: unknown) => error), reason)
  await ended
})

assembling('without an index nothing is held against anything, and all of it comes', async () => {
  const image = imageOf(1, 0, 2)
  const rig = rigOf(image)
  const plan = new Plan(image.length)
  assert.ok((await all(rig.begin({ plan, offset: 9 }))).equals(image.subarray(9)))
  assert.equal(
    rig.fetched.map(({ start }) => start),
    [9, blockBytes, 2 * blockBytes],
  )
})

assembling.run()
