// Fields say where copies go; labels do where fields are silent.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { placementOf } from './placement.ts'

const placing = suite('placement')

const silent = {
  minNumberOfCopies: 0,
  nodeSelector: [],
  diskSelector: [],
  dataEngine: 'v1' as const,
  labels: {},
}
const labels = {
  'longhorn.minNumberOfCopies': '2',
  'longhorn.nodeSelector': 'fast, rack-1',
  'longhorn.diskSelector': 'ssd',
  'longhorn.dataEngine': 'v2',
}

placing('what nobody says is left to Longhorn', () => {
  const { labels: _, ...expected } = silent
  assert.equal(placementOf(silent), expected)
})

placing('labels say what fields do not', () => {
  assert.equal(placementOf({ ...silent, labels }), {
    minNumberOfCopies: 2,
    nodeSelector: ['fast', 'rack-1'],
    diskSelector: ['ssd'],
    dataEngine: 'v2',
  })
  const fields = { minNumberOfCopies: 3, nodeSelector: ['slow'] }
  const { minNumberOfCopies, nodeSelector } = placementOf({ ...silent, ...fields, labels })
  assert.equal([minNumberOfCopies, nodeSelector], [3, ['slow']])
})

placing('a label that is none is refused, with what is expected', () => {
  const all: [string, string, RegExp][] = [
    ['longhorn.minNumberOfCopies', '-1', /is "-1"; a number up to 1000 is expected/],
    ['longhorn.minNumberOfCopies', '1001', /a number up to 1000/],
    ['longhorn.nodeSelector', 'a,,b', /tags with commas between/],
    ['longhorn.diskSelector', 'a b', /longhorn\.diskSelector is "a b"/],
    ['longhorn.dataEngine', 'v3', /v1 or v2/],
  ]
  for (const [key, value, message] of all) {
    assert.throws(() => placementOf({ ...silent, labels: { [key]: value } }), message, value)
  }
})

placing.run()
