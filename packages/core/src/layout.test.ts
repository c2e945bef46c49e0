// Keys and names are the store's contract with everyone else who reads it: both ways, and strict.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { assertKey, assertPrefix } from './backend.ts'
import { isImageError } from './errors.ts'
import {
  assertName,
  assertUuid,
  assertVersion,
  beatKey,
  bytesKey,
  cancelKey,
  claimKey,
  endKey,
  isNumericVersion,
  markKey,
  parseBytesKey,
  parseIngestId,
  parseJobKey,
  parseMarkKey,
  parseRecordKey,
  recordKey,
} from './layout.ts'

const layout = suite('layout')

function refuses(check: () => void, what: string): void {
  try {
    check()
  } catch (error) {
    assert.ok(isImageError(error, 'invalid_argument'), `${what}: ${String(error)}`)
    return
  }
  assert.unreachable(`${what} was taken`)
}

layout('every key reads back as what it was made of', () => {
  const name = 'a-1234abcd.b'
  const uuid = '0123abcd'
  assert.equal(parseBytesKey(bytesKey(name, uuid)), { name, uuid })
  assert.equal(parseRecordKey(recordKey(name, '1.beat')), { name, version: '1.beat' })
  assert.equal(parseJobKey(claimKey(name, uuid, 12)), { name, uuid, kind: 'claim', epoch: 12 })
  assert.equal(parseJobKey(beatKey(name, uuid, 1)), { name, uuid, kind: 'beat', epoch: 1 })
  assert.equal(parseJobKey(cancelKey(name, uuid)), { name, uuid, kind: 'cancel' })
  assert.equal(parseJobKey(endKey(name, uuid)), { name, uuid, kind: 'end' })
  assert.equal(parseMarkKey(markKey(name, uuid, 'm1')), { name, uuid })
  for (const key of [
    bytesKey(name, uuid),
    recordKey(name, '1'),
    claimKey(name, uuid, 1),
    markKey(name, uuid, 'm'),
  ]) {
    assertKey(key)
  }
})

layout('what somebody else put beside ours is not read as ours', () => {
  for (const id of ['lost+found', 'x-0123abcd', 'ab-0123ABCD', 'ab_0123abcd', '-0123abcd', '']) {
    assert.is(parseIngestId(id), undefined, id)
  }
  assert.is(parseRecordKey('.catalog/ab/x/1.json'), undefined)
  assert.is(parseRecordKey('.catalog/AB/1.json'), undefined)
  assert.is(parseJobKey('.jobs/ab-0123abcd/0.json'), undefined)
  assert.is(parseJobKey('.jobs/ab-0123abcd/other.json'), undefined)
})

layout('names, versions and uuids that could leave their folder are refused', () => {
  const names = [
    '',
    'a',
    '..',
    '.a',
    'a/b',
    'a\0b',
    'A1',
    'ä1',
    'a'.repeat(65),
    'a b',
    'a%2e',
    '-a',
  ]
  for (const name of names) refuses(() => assertName(name), JSON.stringify(name))
  const versions = ['', '.', '..', '-1', 'a/b', 'x'.repeat(65), 'a b', 'a\n']
  for (const version of versions) refuses(() => assertVersion(version), JSON.stringify(version))
  for (const uuid of ['', '0123abc', '0123ABCD', '../../..']) refuses(() => assertUuid(uuid), uuid)
  for (const name of ['ab', 'a_b-c.d', '0'.repeat(64)]) assertName(name)
})

layout('a key has plain parts, and a reserved part only first', () => {
  const bad = ['', '/', 'a/', '/a', 'a//b', '../a', 'a/..', '.tmp/a', 'a/.jobs/b', '.jobs', 'a\0b']
  for (const key of [...bad, 'a b', 'x'.repeat(201), 'a\\b', '.catalog/']) {
    refuses(() => assertKey(key), JSON.stringify(key))
  }
  for (const key of ['a', 'a/b', '.catalog/a/1.json', 'A-b_c.d/e']) assertKey(key)
  for (const prefix of ['a', '/', '.tmp/', 'a//']) refuses(() => assertPrefix(prefix), prefix)
  for (const prefix of ['', 'a/', '.jobs/', '.jobs/a-0123abcd/']) assertPrefix(prefix)
})

layout('only a positive number of at most 15 digits counts as numeric', () => {
  for (const version of ['1', '42', '999999999999999']) assert.ok(isNumericVersion(version))
  for (const version of ['0', '01', '1a', '1000000000000000', '']) {
    assert.not.ok(isNumericVersion(version))
  }
})

layout.run()
