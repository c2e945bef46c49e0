// A source that can never be gone on with is given up after a few attempts, with what would help.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { pullOf, pulled, pulling } from '../testing/pulling.ts'
import { disk } from '../testing/rig.ts'

const pulls = suite('pulls: giving up')

const body = disk(1, 300_000)

pulls(
  'one that breaks off and takes no ranges: how often it was tried, and what to do',
  pulling(async ({ web, open }) => {
    const { store } = await open({ attemptDelayMs: 1 })
    const fault = () => ({ cutAfterBytes: 100_000 })
    const url = web.serve('/disk.img', body, { etag: null, fault }).href
    const failed = await pulled(store, pullOf('jammy', { url }))
    assert.is(failed.state, 'failed')
    assert.match(
      failed.message,
      /begun 6 times and never came to its end\. .*neither a strong ETag/,
    )
    assert.match(failed.message, /upload the file, or name a mirror that supports Range/)
    assert.is(web.seen('/disk.img').length, 6)
  }),
)

pulls(
  'one whose content is another one each time: that it changes',
  pulling(async ({ web, open }) => {
    const { store } = await open({ attemptDelayMs: 1 })
    const fault = (count: number) => ({
      headers: { etag: `"${count}"` },
      ignoresCondition: true,
      cutAfterBytes: 100_000,
    })
    const url = web.serve('/disk.img', body, { fault }).href
    const { message } = await pulled(store, pullOf('jammy', { url }))
    assert.match(
      message,
      /begun 6 times .*has changed while it was read: its ETag was .*stays as it is/,
    )
    assert.not.match(message, 'Range')
  }),
)

pulls.run()
