import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { allowsRange, readRange } from './range.ts'

const range = suite('range')

const part = (start: number, end: number) => ({ kind: 'part' as const, range: { start, end } })
const whole = { kind: 'whole' as const }
const unsatisfiable = { kind: 'unsatisfiable' as const }

range('one range is read as RFC 9110 has it', () => {
  assert.equal(readRange('bytes=0-0', 10), part(0, 0))
  assert.equal(readRange('bytes=3-', 10), part(3, 9))
  assert.equal(readRange('bytes=3-5', 10), part(3, 5))
  assert.equal(readRange('bytes=3-99', 10), part(3, 9))
  assert.equal(readRange('bytes=-3', 10), part(7, 9))
  assert.equal(readRange('bytes=-99', 10), part(0, 9))
  assert.equal(readRange(' BYTES= 3-5 ', 10), part(3, 5))
  assert.equal(readRange('bytes=, 3-5,', 10), part(3, 5), 'empty elements count for nothing')
  assert.equal(readRange(`bytes=1-${'9'.repeat(400)}`, 10), part(1, 9))
})

range('what begins behind the end can not be satisfied', () => {
  assert.equal(readRange('bytes=10-', 10), unsatisfiable)
  assert.equal(readRange('bytes=10-20', 10), unsatisfiable)
  assert.equal(readRange('bytes=-0', 10), unsatisfiable)
  assert.equal(readRange(`bytes=${'9'.repeat(400)}-`, 10), unsatisfiable)
})

range('several ranges, other units and nonsense give the whole', () => {
  for (const header of [
    undefined,
    '',
    'bytes',
    'bytes=',
    'bytes=-',
    'bytes=a-b',
    'bytes=1-2-3',
    'bytes=5-3',
    'bytes=0-1,3-4',
    `bytes=${'0-0,'.repeat(5000)}`,
    'bytes=--5',
    'bytes=1.0-2',
    'bytes=0x1-2',
    'lines=0-3',
  ]) {
    assert.equal(readRange(header, 10), whole, String(header).slice(0, 40))
  }
})

range('If-Range lets a range only of the very same bytes', () => {
  const modifiedAt = new Date('2026-01-02T03:04:05.678Z')
  const current = { etag: '"abc"', modifiedAt, isImmutable: true }
  assert.is(allowsRange(undefined, current), true)
  assert.is(allowsRange('"abc"', current), true)
  assert.is(allowsRange('"abd"', current), false)
  assert.is(allowsRange('W/"abc"', current), false, 'a weak tag never matches')
  assert.is(allowsRange('Fri, 02 Jan 2026 03:04:05 GMT', current), true)
  assert.is(allowsRange('Fri, 02 Jan 2026 03:04:06 GMT', current), false, 'exactly, not "since"')
  assert.is(
    allowsRange('Fri, 02 Jan 2026 03:04:05 GMT', { ...current, isImmutable: false }),
    false,
    'where the name may come to mean other bytes, a date says too little',
  )
})

range.run()
