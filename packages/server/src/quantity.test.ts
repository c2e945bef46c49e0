import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { formatSize, parseDuration, parseSize } from './quantity.ts'

const quantity = suite('quantity')

quantity('sizes are bytes or powers of 1024', () => {
  assert.is(parseSize('0'), 0)
  assert.is(parseSize('1B'), 1)
  assert.is(parseSize('1KiB'), 1024)
  assert.is(parseSize('3GiB'), 3 * 1024 ** 3)
  assert.is(parseSize('2TiB'), 2 * 1024 ** 4)
})

quantity('what is no size is undefined, never a guess', () => {
  for (const text of ['', '1MB', '1 MiB', '1.5GiB', '-1', '1e9', 'MiB', '9999999999999999TiB']) {
    assert.is(parseSize(text), undefined, text)
  }
})

quantity('durations have a unit and end at 24 hours', () => {
  assert.is(parseDuration('500ms'), 500)
  assert.is(parseDuration('30s'), 30_000)
  assert.is(parseDuration('24h'), 86_400_000)
  for (const text of ['', '30', '1441m', '1.5s', '-1s', '1d', '999999999h']) {
    assert.is(parseDuration(text), undefined, text)
  }
})

quantity('sizes are shown short', () => {
  assert.is(formatSize(0), '0 B')
  assert.is(formatSize(1023), '1023 B')
  assert.is(formatSize(1536), '1.5 KiB')
  assert.is(formatSize(2 * 1024 ** 4), '2 TiB')
})

quantity.run()
