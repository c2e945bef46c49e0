// A download goes on where another process came to, if the content is certainly still the same.

import { randomBytes } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Web } from '../testing/web.ts'
import { openDownload } from './download.ts'
import { SourceChanged } from './failure.ts'
import type { Fetcher } from './fetcher.ts'
import { faults, localFetcher, readUrl } from './testing/reading.ts'

const tests = suite('resume: a successor')

let web: Web
let fetcher: Fetcher
tests.before.each(async () => {
  web = await Web.start()
  fetcher = localFetcher()
})
tests.after.each(async () => {
  fetcher.close()
  await web.stop()
})

const content = randomBytes(300_000)
const size = content.length
const cut = { cutAfterBytes: 100_000 }

tests('a successor goes on from the offset of another', async () => {
  const url = web.serve('/image', content)
  const first = await openDownload(fetcher, { url })
  first.cancel()
  const { validator = '' } = first
  const from = { offset: 123_456, validator, size }
  const download = await openDownload(fetcher, { url, from })
  assert.equal([download.offset, download.size, download.validator], [123_456, size, validator])
  download.cancel()
  for (const known of [from, { offset: 123_456, validator }]) {
    const { bytes, error } = await readUrl(fetcher, url, { from: known })
    assert.is(error, undefined)
    assert.ok(bytes.equals(content.subarray(123_456)))
  }
  const before = web.requests.length
  const whole = await readUrl(fetcher, url, { from: { offset: size, validator, size } })
  assert.is(whole.error, undefined)
  assert.is(whole.bytes.length, 0)
  assert.is(web.requests.length, before, 'all was there, and it was asked for more')
  const unknown = await readUrl(fetcher, url, { from: { offset: size, validator } })
  assert.is(unknown.error, undefined)
  assert.is(unknown.bytes.length, 0)
  const zero = await readUrl(fetcher, url, { from: { offset: 0, validator: '"old"', size: 1 } })
  assert.ok(zero.bytes.equals(content))
})

tests(
  'a successor survives what breaks, and begins again when the content is another',
  async () => {
    const url = web.serve('/image', content, faults({ status: 503 }, cut))
    const validator =
      (await openDownload(fetcher, { url: web.serve('/x', content) })).validator ?? ''
    const { bytes, retries } = await readUrl(fetcher, url, { from: { offset: 5, validator } })
    assert.ok(bytes.equals(content.subarray(5)))
    assert.equal(
      retries.map(({ position }) => position > 5),
      [false, true],
    )
    for (const from of [
      { offset: 5, validator: '"other"', size },
      { offset: 5, validator: 'Wed, 01 Jan 2025 00:00:00 GMT', size },
      { offset: 5, validator, size: size - 1 },
      { offset: size + 1, validator, size },
    ]) {
      const { error, bytes: none } = await readUrl(fetcher, url, { from })
      assert.instance(error, SourceChanged, JSON.stringify(from))
      assert.is(none.length, 0)
    }
  },
)

tests('a successor takes no range that does not say of which edition it is', async () => {
  const date = new Date(Date.now() - 3_600_000).toUTCString()
  for (const [validator, page] of [
    ['"old"', { etag: null }],
    [date, { etag: null }],
    [date, { etag: '"new"' }],
  ] as const) {
    const fault = { ignoresCondition: true }
    const url = web.serve('/image', content, { ...page, fault: () => fault })
    for (const known of [size, undefined]) {
      const from = { offset: 1000, validator, ...(known !== undefined && { size: known }) }
      const { bytes, error } = await readUrl(fetcher, url, { from })
      assert.instance(error, SourceChanged)
      assert.is(bytes.length, 0)
    }
  }
})

tests.run()
