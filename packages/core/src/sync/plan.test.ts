// What comes over the wire and what does not, told from block indexes alone.

import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { content } from '../testing/conformance/case.ts'
import { Plan, type Run, blockBytes } from './plan.ts'

const plan = suite('the plan of a sync')

const tail = 1000

/** Blocks named by their seeds, 0 being zeros; the last one is short. */
function imageOf(...seeds: number[]): Buffer {
  const blocks = seeds.map((seed, block) => {
    const length = block === seeds.length - 1 ? tail : blockBytes
    return seed === 0 ? Buffer.alloc(length) : content(length, seed)
  })
  return Buffer.concat(blocks)
}

function indexOf(image: Buffer): Buffer {
  const entries: Buffer[] = []
  for (let at = 0; at < image.length; at += blockBytes) {
    const block = image.subarray(at, at + blockBytes)
    const isZero = block.every((byte) => byte === 0)
    entries.push(createHash('sha256').update(block).digest(), Buffer.from([Number(isZero)]))
  }
  return Buffer.concat(entries)
}

/** Kinds and places in short. */
function shown(runs: Iterable<Run>): unknown[] {
  return [...runs].map((run) =>
    run.kind === 'own'
      ? [run.start, run.end, `${run.key}@${run.at / blockBytes}`]
      : [run.start, run.end, run.kind],
  )
}

plan('zeros are one run, and all else comes over the wire with its hash', () => {
  const image = imageOf(1, 0, 0, 2, 0)
  const index = indexOf(image)
  const found = new Plan(image.length, index)
  assert.equal(shown(found.runs()), [
    [0, blockBytes, 'wire'],
    [blockBytes, 3 * blockBytes, 'zero'],
    [3 * blockBytes, 4 * blockBytes, 'wire'],
    [4 * blockBytes, 4 * blockBytes + tail, 'zero'],
  ])
  const [first] = found.runs()
  const hash = first?.kind === 'wire' ? first.hash : undefined
  assert.ok(index.subarray(0, 32).equals(hash ?? Buffer.alloc(0)))
})

plan('what is held comes from there, as often as the image has it', () => {
  const image = imageOf(1, 2, 1, 3, 4)
  const found = new Plan(image.length, indexOf(image))
  found.hold('old', indexOf(imageOf(9, 1, 4)))
  assert.is(found.isWanting, true)
  found.hold('other', indexOf(imageOf(1, 3, 2, 5)))
  assert.is(found.isWanting, false)
  assert.equal(shown(found.runs()), [
    [0, blockBytes, 'old@1'],
    [blockBytes, 2 * blockBytes, 'other@2'],
    [2 * blockBytes, 3 * blockBytes, 'old@1'],
    [3 * blockBytes, 4 * blockBytes, 'other@1'],
    [4 * blockBytes, 4 * blockBytes + tail, 'old@2'],
  ])
})

plan('a short block is no whole one that begins alike', () => {
  const image = imageOf(1, 0)
  const found = new Plan(image.length, indexOf(image))
  found.hold('old', indexOf(content(tail, 1)))
  assert.equal(shown(found.runs())[0], [0, blockBytes, 'wire'])
  const short = content(tail, 1)
  const other = new Plan(tail, indexOf(short))
  other.hold('old', indexOf(image))
  assert.equal(shown(other.runs()), [[0, tail, 'wire']])
})

plan('it begins anywhere, also within a block, and at the end with nothing', () => {
  const image = imageOf(1, 0, 0, 2, 3)
  const found = new Plan(image.length, indexOf(image))
  assert.equal(shown(found.runs(2 * blockBytes + 7)), [
    [2 * blockBytes + 7, 3 * blockBytes, 'zero'],
    [3 * blockBytes, 4 * blockBytes, 'wire'],
    [4 * blockBytes, image.length, 'wire'],
  ])
  assert.equal(shown(found.runs(image.length - 1)), [[image.length - 1, image.length, 'wire']])
  assert.equal(shown(found.runs(image.length)), [])
  assert.equal(shown(new Plan(0).runs()), [])
})

plan('without an index everything comes over the wire, and nothing is known of it', () => {
  const found = new Plan(blockBytes + 1)
  found.hold('old', indexOf(imageOf(1, 2)))
  assert.equal(
    [...found.runs(5)],
    [
      { start: 5, end: blockBytes, kind: 'wire' },
      { start: blockBytes, end: blockBytes + 1, kind: 'wire' },
    ],
  )
})

plan.run()
