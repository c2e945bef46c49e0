// Syncs of random images out of random holdings, some of which are not what they say, over a wire that
// lies, fails or is left: what is given is always the image from the asked byte on, or its beginning.

import { setImmediate as turn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Range, bytesOf } from '../backend.ts'
import { BlockHash, BlockIndex, blockBytes } from '../blocks.ts'
import { ImageError } from '../errors.ts'
import { content } from '../testing/conformance/case.ts'
import { randomFrom } from '../testing/rig.ts'
import { type Assembling, type Block, assemble } from './assemble.ts'
import { Plan } from './plan.ts'

const random = suite('random syncs')

const casesMin = 60
const casesMax = 1000
const fetchesMax = 4
/** Few kinds of blocks, so that images have many in common; the first is all zeros. */
const palette = Array.from({ length: 6 }, (_, seed) =>
  seed === 0 ? Buffer.alloc(blockBytes) : content(blockBytes, seed),
)

interface Dice {
  /** A whole number under `limit`. */
  below(limit: number): number
  /** True so many times in a hundred. */
  happens(percent: number): boolean
}

function diceOf(seed: number): Dice {
  const next = randomFrom(seed)
  const below = (limit: number): number => Math.floor(next() * limit)
  return { below, happens: (percent) => below(100) < percent }
}

function indexOf(image: Buffer): BlockIndex {
  const hash = new BlockHash()
  hash.update(image)
  return BlockIndex.parse(hash.digest(), image.length)
}

function drawImage({ below }: Dice): Buffer {
  const count = 1 + below(6)
  const blocks = Array.from({ length: count }, () => palette[below(palette.length)] ?? palette[0])
  const tails = [1, 1000, blockBytes - 1, blockBytes]
  const size = (count - 1) * blockBytes + (tails[below(tails.length)] ?? 0)
  return Buffer.concat(blocks as Buffer[]).subarray(0, size)
}

/** An object of the own store, and what has become of it since its index was made. */
function drawHolding(dice: Dice): { index: BlockIndex; bytes: Buffer | undefined } {
  const image = drawImage(dice)
  const index = indexOf(image)
  if (dice.happens(15)) return { index, bytes: undefined }
  if (dice.happens(15)) return { index, bytes: image.subarray(0, dice.below(image.length)) }
  const bytes = Buffer.from(image)
  if (dice.happens(30)) {
    const at = dice.below(bytes.length)
    bytes[at] = (bytes[at] ?? 0) ^ 1
  }
  return { index, bytes }
}

/** The wire to the other side, as far as this case has one. */
class Wire {
  readonly asked: Range[] = []
  readonly refusal = new ImageError('unavailable', 'the wire broke')
  /** Under way, with the signals that would end them. */
  readonly #underWay = new Set<AbortSignal>()
  readonly #image: Buffer
  readonly #dice: Dice
  /** The answer that fails, if one does; and that is wrong. */
  readonly #failing: number
  readonly #lying: number
  most = 0

  constructor(image: Buffer, dice: Dice) {
    this.#image = image
    this.#dice = dice
    this.#failing = dice.happens(20) ? dice.below(6) : -1
    this.#lying = dice.happens(30) ? dice.below(6) : -1
  }

  /** Those that nobody has told to end. */
  get forgotten(): number {
    return [...this.#underWay].filter((signal) => !signal.aborted).length
  }

  readonly fetch: Assembling['fetch'] = async (range, signal): Promise<Block> => {
    const number = this.asked.push(range) - 1
    // One signal may serve several fetches.
    const own = AbortSignal.any([signal])
    this.#underWay.add(own)
    this.most = Math.max(this.most, this.#underWay.size)
    try {
      for (let turns = this.#dice.below(8); turns > 0; turns--) await turn()
      signal.throwIfAborted()
      if (number === this.#failing) throw this.refusal
      const bytes = Uint8Array.from(this.#image.subarray(range.start, range.end + 1))
      if (number === this.#lying) bytes[0] = (bytes[0] ?? 0) ^ 1
      return bytes
    } finally {
      this.#underWay.delete(own)
    }
  }
}

interface Outcome {
  given: Buffer
  end: 'whole' | 'left' | 'called off' | 'failed'
  error?: unknown
}

/** Reads to the end, or as far as this case wants to. */
async function read(
  bytes: AsyncIterableIterator<Uint8Array>,
  stop: AbortController,
  dice: Dice,
): Promise<Outcome> {
  const chunks: Buffer[] = []
  const outcome = (end: Outcome['end'], error?: unknown): Outcome => {
    return { given: Buffer.concat(chunks), end, error }
  }
  const leavesAfter = dice.happens(20) ? dice.below(6) : Infinity
  const stopsAfter = dice.happens(20) ? dice.below(6) : Infinity
  const reason = new Error('called off')
  try {
    for (;;) {
      if (chunks.length >= leavesAfter) {
        await bytes.return?.()
        return outcome('left')
      }
      if (chunks.length >= stopsAfter) stop.abort(reason)
      const { done, value } = await bytes.next()
      if (done) return outcome('whole')
      chunks.push(Buffer.from(value))
    }
  } catch (error) {
    return outcome(error === reason ? 'called off' : 'failed', error)
  }
}

async function tryCase(seed: number): Promise<Outcome['end']> {
  const dice = diceOf(seed)
  const image = drawImage(dice)
  const holdings = Array.from({ length: dice.below(4) }, () => drawHolding(dice))
  const plan = new Plan(image.length, indexOf(image))
  for (const [key, { index }] of holdings.entries()) plan.hold(`${key}`, index)
  const wire = new Wire(image, dice)
  const stop = new AbortController()
  const offset = dice.happens(50) ? dice.below(image.length + 1) : 0
  const bytes = assemble({
    plan,
    offset,
    signal: stop.signal,
    fetch: wire.fetch,
    readOwn: async (key, { start, end }) => {
      await turn()
      const held = holdings[Number(key)]?.bytes
      if (!held) throw new ImageError('not_found', 'It is gone.')
      if (end >= held.length) throw new ImageError('out_of_range', 'It is shorter.')
      return bytesOf(held.subarray(start, end + 1))
    },
    onTrouble: () => {},
  })
  const { given, end, error } = await read(bytes, stop, dice)
  assert.is(wire.forgotten, 0, 'a fetch goes on that nobody waits for')
  assert.ok(wire.most <= fetchesMax + 2, `${wire.most} fetches at a time`)
  assert.ok(given.equals(image.subarray(offset, offset + given.length)), 'wrong bytes were given')
  if (end === 'whole') assert.is(given.length, image.length - offset)
  if (end === 'failed') assert.is(error, wire.refusal)
  assertFrugal({ image, offset, holdings, asked: wire.asked })
  return end
}

/** Nothing is asked of the wire that was not wanted, or that an own object has as it says. */
function assertFrugal(found: {
  image: Buffer
  offset: number
  holdings: { index: BlockIndex; bytes: Buffer | undefined }[]
  asked: Range[]
}): void {
  const { image, offset, holdings, asked } = found
  const index = indexOf(image)
  const tries = new Map<number, number>()
  for (const { start, end } of asked) {
    const block = start / blockBytes
    tries.set(block, (tries.get(block) ?? 0) + 1)
    assert.is(end - start + 1, index.length(block), 'a whole block')
    assert.ok(end >= offset, 'what comes before the beginning is not wanted')
    assert.not.ok(index.isZero(block), 'zeros need no wire')
    // The first that says so is believed, and no other.
    const first = holdings.find((holding) => blockOf(holding.index, index, block) !== undefined)
    const at = first && blockOf(first.index, index, block)
    if (!first?.bytes || at === undefined) continue
    const held = first.bytes.subarray(at * blockBytes, at * blockBytes + index.length(block))
    assert.not.ok(index.isGood(block, held), 'it was there')
  }
  const twice = [...tries.values()].filter((count) => count > 1)
  assert.ok(twice.length <= 1 && (twice[0] ?? 2) === 2, 'only one answer was wrong')
}

/** Which block of `held` is the same. */
function blockOf(held: BlockIndex, index: BlockIndex, block: number): number | undefined {
  const sha256 = index.sha256(block)
  const all = Array.from({ length: held.count }, (_, each) => each)
  return all.find((each) => held.sha256(each) === sha256)
}

random('whatever goes wrong, what is given is the image or a beginning of it', async () => {
  const start = Date.now() % 1_000_000
  const ends = new Map<Outcome['end'], number>()
  // Until each way to end has been tried.
  for (let count = 0; count < casesMin || (ends.size < 4 && count < casesMax); count++) {
    const seed = start + count
    try {
      const end = await tryCase(seed)
      ends.set(end, (ends.get(end) ?? 0) + 1)
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error })
    }
  }
  assert.is(ends.size, 4, `from seed ${start} there was only ${[...ends.keys()].join()}`)
})

random.run()
