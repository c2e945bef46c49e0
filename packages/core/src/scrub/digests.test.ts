// Bytes that are not what was stored are found, be it one bit, once for all versions that share them.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesKey } from '../layout.ts'
import { inTown, put } from '../testing/rig.ts'
import { faultsOf, rot, scrubbed, truncate } from '../testing/scrubbing.ts'

const digests = suite('scrub: sizes and digests')

digests(
  'bytes that were cut off are a fault',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    await put(store, 'jammy', 2)
    const key = bytesKey('jammy', image.uuid)
    truncate(town, key)
    const report = await scrubbed(store, { steps: ['sizes'] })
    assert.equal(
      report.findings.map((each) => [each.key, each.version, each.expected, each.actual]),
      [[key, '1', '4096 bytes', '3584 bytes']],
    )
  }),
)

digests(
  'one flipped bit is a fault, of all the versions that share the bytes',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    await put(store, 'noble', 2)
    await store.rollback('jammy', '1')
    rot(town, bytesKey('jammy', image.uuid))
    const report = await scrubbed(store, { steps: ['digests'] })
    assert.is(report.faults, 1)
    const [found] = report.findings
    assert.is(found?.key, bytesKey('jammy', image.uuid))
    assert.is(found?.expected, `sha512:${image.checksums.sha512}`)
    assert.match(found?.actual ?? '', /^sha512:[0-9a-f]{128}$/)
    assert.match(found?.what ?? '', 'jammy 1')
    assert.match(found?.what ?? '', 'jammy 2')
    assert.is(report.steps[0]?.bytes, 3 * 4096, 'shared bytes are read once, and wrong ones twice')
    assert.is(report.steps[0]?.bytesExpected, 2 * 4096)
  }),
)

digests(
  'bytes that read differently each time are told as a fault of the machine',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1)
    const key = bytesKey('jammy', image.uuid)
    let reads = 0
    backend.before = (verb, each) => {
      if (verb === 'get' && each === key) rot(town, key, 600 + reads++)
    }
    const report = await scrubbed(store, { steps: ['digests'], repair: true })
    assert.equal(faultsOf(report), [`digests ${key} none`])
    assert.match(report.findings[0]?.what ?? '', 'hardware')
  }),
)

digests.run()
