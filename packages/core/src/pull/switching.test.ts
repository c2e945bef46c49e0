// A source that answers with another protocol ends its pull, and leaves its place to the next one.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Image } from '../image.ts'
import type { IngestRequest } from '../request.ts'
import type { ImageStore } from '../store.ts'
import { outcome, pullOf, pulled, pulling } from '../testing/pulling.ts'
import { disk } from '../testing/rig.ts'
import type { Web } from '../testing/web.ts'

const pulls = suite('pulls: other protocols')

const body = disk(1, 300_000)
const answer = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'

function switches(web: Web): string {
  return web.on('/switches', ({ socket }) => void socket.write(answer)).href
}

/** Fails the test rather than hang it. */
async function ended(store: ImageStore, asked: IngestRequest): Promise<Image> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error('It never ended.')), 5_000).unref()
  })
  return await Promise.race([pulled(store, asked), late])
}

pulls(
  'of an image, of its checksum and behind a redirect: it fails, and the next one runs',
  pulling(async ({ town, web, open }) => {
    const { store, problems } = await open({ atOnce: 1 })
    const url = switches(web)
    const good = web.serve('/disk.img', body).href
    const hop = web.redirect('/hop', url).href
    for (const [name, parameters] of [
      ['jammy', { url }],
      ['noble', { url: good, checksumUrl: url }],
      ['focal', { url: hop }],
    ] as const) {
      const failed = await ended(store, pullOf(name, parameters))
      assert.is(failed.state, 'failed')
      assert.match(failed.message, '/switches: it answered 101 Switching Protocols')
    }
    assert.is((await ended(store, pullOf('sid', { url: good }))).state, 'ready')
    assert.is(town.medium.unfinished.size, 0)
    assert.equal(problems, [])
  }),
)

pulls(
  'what is deleted while its source is silent leaves its place at once',
  pulling(async ({ web, open }) => {
    const { store } = await open({ atOnce: 1 })
    const asked = new Promise<void>((resolve) => {
      web.on('/silent', () => resolve())
    })
    const silent = await store.pull(pullOf('jammy', { url: web.url('/silent').href }))
    await asked
    const next = await store.pull(pullOf('noble', { url: web.serve('/disk.img', body).href }))
    await store.remove('jammy', { version: silent.image.version })
    assert.is((await outcome(store, next.image)).state, 'ready')
  }),
)

pulls.run()
