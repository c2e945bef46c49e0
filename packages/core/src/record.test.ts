// Records are read back only when they are whole, order themselves the same on every replica, and
// Longhorn can read what we write beside the bytes.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { isImageError } from './errors.ts'
import { layoutVersion } from './layout.ts'
import {
  type VersionRecord,
  compareNewestFirst,
  formatBackingConfig,
  formatGoTime,
  formatRecord,
  freshId,
  parseObject,
  parseRecord,
} from './record.ts'
import { description } from './testing/rig.ts'

const record = suite('record')

function sample(overrides: Partial<VersionRecord> = {}): VersionRecord {
  return {
    ...description(),
    layout: layoutVersion,
    id: freshId(),
    name: 'jammy',
    version: '1',
    uuid: '0badcafe',
    sequence: 1,
    keys: ['jammy-0badcafe/backing'],
    size: 10,
    virtualSize: 20,
    realSize: 5,
    format: 'qcow2',
    checksums: { sha512: 'a'.repeat(128), sha256: 'b'.repeat(64) },
    warnings: [],
    createdAt: '2026-08-01T09:05:07.000Z',
    publishedAt: '2026-08-01T09:05:08.000Z',
    ...overrides,
  }
}

/** Nanoseconds since 1970 of an ISO time, and some more. */
function ns(iso: string, more: bigint = 0n): bigint {
  return BigInt(Date.parse(iso)) * 1_000_000n + more
}

const goTimes: [bigint, string][] = [
  [ns('2026-08-01T09:05:07Z', 120_000_000n), '2026-08-01 09:05:07.12 +0000 UTC'],
  [ns('2026-08-01T09:05:07Z'), '2026-08-01 09:05:07 +0000 UTC'],
  [ns('2026-08-01T09:05:07Z', 123_456_789n), '2026-08-01 09:05:07.123456789 +0000 UTC'],
  [ns('2026-08-01T09:05:07Z', 1n), '2026-08-01 09:05:07.000000001 +0000 UTC'],
  [ns('2026-08-01T09:05:07Z', 100n), '2026-08-01 09:05:07.0000001 +0000 UTC'],
  [ns('2026-08-01T09:05:07Z', 999_999_999n), '2026-08-01 09:05:07.999999999 +0000 UTC'],
  [0n, '1970-01-01 00:00:00 +0000 UTC'],
  [-1n, '1969-12-31 23:59:59.999999999 +0000 UTC'],
  [-1_000_000_000n, '1969-12-31 23:59:59 +0000 UTC'],
  [ns('1901-12-13T20:45:51Z', 500_000_000n), '1901-12-13 20:45:51.5 +0000 UTC'],
  [ns('2038-01-19T03:14:08Z'), '2038-01-19 03:14:08 +0000 UTC'],
  [ns('2024-02-29T00:00:00Z', 10n), '2024-02-29 00:00:00.00000001 +0000 UTC'],
]

record('a time has the form of Go, to the nanosecond, without trailing zeros', () => {
  for (const [nanoseconds, expected] of goTimes) {
    assert.is(formatGoTime(nanoseconds), expected, String(nanoseconds))
  }
})

record('backing.cfg is compact, with the keys of Longhorn in its order', () => {
  const text = formatBackingConfig({
    name: 'jammy',
    uuid: '0badcafe',
    facts: sample(),
    expectedChecksum: 'c'.repeat(128),
    modifiedAt: ns('2026-08-01T09:05:07Z', 120_000_000n),
  })
  assert.is(
    text,
    '{"name":"/data/backing-images/jammy-0badcafe/backing","uuid":"0badcafe","size":10,' +
      `"virtualSize":20,"realSize":5,"expectedChecksum":"${'c'.repeat(128)}",` +
      `"currentChecksum":"${'a'.repeat(128)}",` +
      '"modificationTime":"2026-08-01 09:05:07.12 +0000 UTC"}',
  )
})

record('a record that was written is read back the same', () => {
  const whole = sample({ rollbackOf: '7', labels: { os: 'ubuntu "jammy"\n' } })
  assert.equal(parseRecord('key', formatRecord(whole)), whole)
})

function refusal(content: string): string {
  try {
    parseRecord('.catalog/jammy/1.json', content)
  } catch (error) {
    assert.ok(isImageError(error, 'data_loss'), String(error))
    assert.match(error.message, '.catalog/jammy/1.json')
    return error.message
  }
  return 'it was read'
}

record('a record that is not whole is refused, by the name of its key', () => {
  const text = formatRecord(sample())
  assert.match(refusal(''), 'not JSON')
  assert.match(refusal(text.slice(0, 100)), 'not JSON')
  assert.match(refusal('null'), 'no JSON object')
  assert.match(refusal('7'), 'no JSON object')
  for (const field of ['id', 'name', 'version', 'uuid', 'sequence', 'size', 'keys', 'checksums']) {
    const part: Record<string, unknown> = { ...sample() }
    delete part[field]
    assert.match(refusal(JSON.stringify(part)), 'no whole version record', field)
  }
  assert.match(refusal(formatRecord(sample({ keys: [] }))), 'no whole version record')
  assert.match(refusal(formatRecord(sample({ sequence: 1.5 }))), 'no whole version record')
  const strange = JSON.stringify({ ...sample(), keys: [7] })
  assert.match(refusal(strange), 'no whole version record')
})

record('a record of the first layout is read as it is', () => {
  const first = sample({ layout: 1 })
  assert.equal(parseRecord('key', formatRecord(first)), first)
})

record('a record of another layout is refused, whatever is in it', () => {
  assert.match(refusal(formatRecord(sample({ layout: 3 }))), 'layout 3')
  assert.match(refusal(formatRecord(sample({ layout: 0 }))), 'layout 0')
  assert.match(refusal('{}'), 'layout undefined')
  assert.match(refusal('[]'), 'layout undefined')
})

record('any JSON object is read, and nothing else', () => {
  assert.equal(parseObject('key', '{"a":1}'), { a: 1 })
  assert.throws(() => parseObject('key', '"a"'), /no JSON object/)
})

function order(...records: VersionRecord[]): string[] {
  return records.toSorted(compareNewestFirst).map((each) => each.version)
}

record('the highest sequence is the newest, whatever the label or the clock says', () => {
  const old = sample({ version: '9', sequence: 1, publishedAt: '2030-01-01T00:00:00.000Z' })
  const young = sample({ version: '2', sequence: 2 })
  assert.equal(order(old, young), ['2', '9'])
  assert.equal(order(young, old), ['2', '9'])
})

record('in a tie numbers go by their value and above all else, the rest by its bytes', () => {
  const labels = ['10', '9', '2', 'v10', 'v1', 'a', 'Z', '01', '0']
  const records = labels.map((version) => sample({ version }))
  assert.equal(order(...records), labels)
  assert.equal(order(...records.toReversed()), labels)
})

record.run()
