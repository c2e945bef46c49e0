import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { checkConditions } from './conditions.ts'

const conditions = suite('conditions')

const current = { etag: '"abc"', modifiedAt: new Date('2026-01-02T03:04:05.678Z') }
const at = (second: string) => `Fri, 02 Jan 2026 03:04:${second} GMT`

function check(headers: Record<string, string>) {
  return checkConditions((name) => headers[name], current)
}

conditions('without conditions it proceeds', () => {
  assert.is(check({}), 'proceed')
})

conditions('If-Match compares strongly and fails with 412', () => {
  assert.is(check({ 'if-match': '"abc"' }), 'proceed')
  assert.is(check({ 'if-match': '"x", "abc"' }), 'proceed')
  assert.is(check({ 'if-match': '*' }), 'proceed')
  assert.is(check({ 'if-match': '"x"' }), 'failed')
  assert.is(check({ 'if-match': 'W/"abc"' }), 'failed')
  assert.is(check({ 'if-match': 'abc' }), 'failed')
})

conditions('If-None-Match compares weakly and gives 304', () => {
  assert.is(check({ 'if-none-match': '"abc"' }), 'not-modified')
  assert.is(check({ 'if-none-match': 'W/"abc"' }), 'not-modified')
  assert.is(check({ 'if-none-match': '"x","abc"' }), 'not-modified')
  assert.is(check({ 'if-none-match': '*' }), 'not-modified')
  assert.is(check({ 'if-none-match': '"x"' }), 'proceed')
})

conditions('dates count by the second', () => {
  assert.is(check({ 'if-modified-since': at('05') }), 'not-modified')
  assert.is(check({ 'if-modified-since': at('06') }), 'not-modified')
  assert.is(check({ 'if-modified-since': at('04') }), 'proceed')
  assert.is(check({ 'if-unmodified-since': at('05') }), 'proceed')
  assert.is(check({ 'if-unmodified-since': at('04') }), 'failed')
  assert.is(check({ 'if-modified-since': 'Friday, 02-Jan-26 03:04:05 GMT' }), 'not-modified')
  assert.is(check({ 'if-modified-since': 'Fri Jan  2 03:04:05 2026' }), 'not-modified')
})

conditions('what is no date is ignored', () => {
  for (const date of ['', 'yesterday', '12', '2026-01-02T03:04:06Z', 'Fri, 99 Foo 2026 GMT']) {
    assert.is(check({ 'if-modified-since': date }), 'proceed', date)
    assert.is(check({ 'if-unmodified-since': date }), 'proceed', date)
  }
})

conditions('tags win over dates, and If-Match comes first', () => {
  assert.is(check({ 'if-match': '"abc"', 'if-unmodified-since': at('04') }), 'proceed')
  assert.is(check({ 'if-none-match': '"x"', 'if-modified-since': at('06') }), 'proceed')
  assert.is(check({ 'if-match': '"x"', 'if-none-match': '"abc"' }), 'failed')
})

conditions.run()
