// Parts of a file against the simplest model of them: one flag for each byte.

import { randomInt } from 'node:crypto'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Intervals } from './intervals.ts'

const parts = suite('ssync: intervals')
const length = 60

function runsOf(flags: boolean[], wanted: boolean): { begin: number; end: number }[] {
  const runs: { begin: number; end: number }[] = []
  flags.forEach((flag, at) => {
    if (flag !== wanted) return
    const last = runs.at(-1)
    if (last?.end === at) last.end = at + 1
    else runs.push({ begin: at, end: at + 1 })
  })
  return runs
}

parts('are what a flag for each byte would be', () => {
  for (let round = 0; round < 300; round += 1) {
    const done: string[] = []
    const intervals = new Intervals()
    const flags = Array.from({ length }, () => false)
    for (let step = 0; step < 12; step += 1) {
      const begin = randomInt(length)
      const end = Math.min(length, begin + randomInt(12))
      done.push(`${begin}-${end}`)
      intervals.add({ begin, end })
      flags.fill(true, begin, Math.max(begin, end))
      const whole = { begin: 0, end: length }
      const words = done.join(' ')
      assert.equal([...intervals.within(whole)], runsOf(flags, true), words)
      assert.equal([...intervals.gaps(whole)], runsOf(flags, false), words)
      const from = randomInt(length)
      const part = { begin: from, end: from + randomInt(length - from) }
      const inPart = flags.slice(part.begin, part.end)
      assert.is(intervals.covers(part), inPart.every(Boolean), words)
      const next = flags.indexOf(true, from)
      assert.is(intervals.nextFrom(from), next < 0 ? Infinity : next, words)
      const gap = flags.indexOf(false, from)
      assert.is(intervals.endAt(from), gap < 0 ? length : gap, words)
    }
  }
})

parts('that are behind are forgotten, but not the one that a place is in', () => {
  const intervals = new Intervals()
  for (const begin of [0, 10, 20]) intervals.add({ begin, end: begin + 5 })
  intervals.forgetUntil(12)
  const all = { begin: 0, end: 100 }
  assert.equal(
    [...intervals.within(all)],
    [
      { begin: 10, end: 15 },
      { begin: 20, end: 25 },
    ],
  )
  intervals.forgetUntil(25)
  assert.equal([...intervals.within(all)], [])
})

parts('are never more than the limit, and one too many changes nothing', () => {
  const intervals = new Intervals(2)
  intervals.add({ begin: 0, end: 1 })
  intervals.add({ begin: 4, end: 5 })
  assert.throws(
    () => intervals.add({ begin: 2, end: 3 }),
    (error: unknown) => isImageError(error, 'resource_exhausted'),
  )
  intervals.add({ begin: 1, end: 2 })
  assert.equal(
    [...intervals.within({ begin: 0, end: 9 })],
    [
      { begin: 0, end: 2 },
      { begin: 4, end: 5 },
    ],
  )
})

parts.run()
