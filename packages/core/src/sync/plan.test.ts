// What comes over the wire and what does not, told from block indexes alone.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { blockBytes } from '../blocks.ts'
import { content } from '../testing/conformance/case.ts'
import { Plan, type Run } from './plan.ts'
import { indexOf } from './testing/manager.ts'

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
  assert.is(first?.kind === 'wire' && first.sha256, index.sha256(0))
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
