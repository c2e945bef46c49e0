// A pull of something compressed stores what is in it, and what breaks off in the middle of it begins
// again: nobody can go on in the middle of what is unpacked.

import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { content } from '../testing/conformance/case.ts'
import { MemoryBackend } from '../testing/memory.ts'
import { allCompressions, packed, sample } from '../testing/packed.ts'
import { outcome, pullOf, pulled, pulling } from '../testing/pulling.ts'

const compressed = suite('pulls: compressed')

// Incompressible, so that the packed bytes and the unpacked ones are about as many.
const body = content(1_500_000)
const file = gzipSync(body, { level: 1 })

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

for (const compression of allCompressions) {
  compressed(
    `${compression}: it is unpacked unless that is not wanted, and either form's checksum is met`,
    pulling(async ({ web, open }) => {
      const { store } = await open()
      const url = web.serve('/disk.img', packed(compression)).href
      for (const expected of [[], [sha256(sample)], [sha256(packed(compression))]]) {
        const { store: other } = await open()
        const asked = pullOf(`image-${expected[0]?.slice(7, 20) ?? ''}x`, { url }, { expected })
        const image = await pulled(other, asked)
        assert.equal([image.state, image.size], ['ready', sample.length], image.message)
        assert.equal(
          [image.packed?.compression, image.packed?.size],
          [compression, packed(compression).length],
        )
        assert.is(`sha256:${image.checksums.sha256}`, sha256(sample))
      }
      const refused = await pulled(store, pullOf('jammy', { url, decompress: 'never' }))
      assert.is(refused.state, 'failed')
      assert.match(refused.message, `${compression} -d`)
    }),
  )
}

compressed(
  'a connection that breaks is gone on with where it was, in the packed bytes',
  pulling(async ({ web, open }) => {
    const { store } = await open()
    const fault = (count: number) => (count <= 2 ? { cutAfterBytes: 400_000 } : undefined)
    const url = web.serve('/disk.img.gz', file, { fault }).href
    const image = await pulled(store, pullOf('jammy', { url }))
    assert.equal([image.state, image.size], ['ready', body.length], image.message)
    assert.is(`sha256:${image.checksums.sha256}`, sha256(body))
    assert.equal(
      web.seen('/disk.img.gz').map(({ headers }) => headers.range !== undefined),
      [false, true, true],
    )
  }),
)

for (const goesOn of [false, true]) {
  const medium = goesOn ? 'a bucket' : 'a disk'
  compressed(
    `${medium}: a server that stops in the middle leaves it to another, which begins anew`,
    pulling(async ({ town, web, open }) => {
      const first = await open({}, new MemoryBackend({ shared: town.medium, goesOn }))
      const fault = (count: number) => (count === 1 ? { stallAfterBytes: 1_400_000 } : undefined)
      const url = web.serve('/disk.img.gz', file, { fault }).href
      const { image } = await first.store.pull(pullOf('jammy', { url }))
      while ((await first.store.get('jammy', { uuid: image.uuid })).processedSize < 1_400_000)
        await pause(5)
      await first.store.stopPulls()
      const second = await open({}, new MemoryBackend({ shared: town.medium, goesOn }))
      const ready = await outcome(second.store, image)
      assert.equal([ready.state, ready.size], ['ready', body.length], ready.message)
      const opened = await second.store.open('jammy')
      assert.ok((await readAll(await opened.read(), 2 * body.length)).equals(body))
      const ranges = web.seen('/disk.img.gz').map(({ headers }) => headers.range)
      assert.equal(ranges, [undefined, undefined])
      assert.is(town.medium.unfinished.size, 0)
    }),
  )
}

compressed.run()
