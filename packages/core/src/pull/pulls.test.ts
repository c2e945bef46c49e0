// Pulls as their client sees them: accepted at once, done in turn, told of without secrets, and gone
// without a trace but the image or a failed job.

import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { parseJobKey } from '../layout.ts'
import type { ImageStore } from '../store.ts'
import { outcome, pullOf, pulled, pulling } from '../testing/pulling.ts'
import { type Town, disk, failure, keysOf, latch } from '../testing/rig.ts'

const pulls = suite('pulls')

const body = disk(1, 300_000)
const sha256 = `sha256:${createHash('sha256').update(body).digest('hex')}`

async function assertBytes(store: ImageStore, name: string, expected: Buffer): Promise<void> {
  const opened = await store.open(name)
  assert.ok((await readAll(await opened.read())).equals(expected))
}

/** Nothing that the store holds has this text. */
function assertNowhere(town: Town, text: string): void {
  for (const key of town.keys()) assert.not.match(town.text(key), text, key)
}

pulls(
  'a pull is claimed when it is accepted, and published when its bytes are there',
  pulling(async ({ town, web, open }) => {
    const { store, problems } = await open()
    const go = latch()
    const url = web.on('/disk.img', (_, response) => {
      void go.opened.then(() => response.end(body))
    }).href
    const { image, created } = await store.pull(pullOf('jammy', { url }, { expected: [sha256] }))
    assert.is(created, true)
    assert.equal([image.state, image.version, image.sourceType], ['pending', '1', 'download'])
    assert.ok(town.keys().includes(`.jobs/jammy-${image.uuid}/1.json`))
    go.open()
    const ready = await outcome(store, image)
    assert.equal([ready.state, ready.uuid, ready.size], ['ready', image.uuid, body.length])
    assert.equal(ready.parameters, { url })
    assert.is(ready.expected, sha256)
    await assertBytes(store, 'jammy', body)
    assert.equal(town.unmarked(), keysOf(ready).toSorted())
    assert.equal(problems, [])
  }),
)

pulls(
  'its progress is told, with the size that the source gave',
  pulling(async ({ web, open }) => {
    const { store } = await open()
    const go = latch()
    const url = web.on('/disk.img', (_, response) => {
      response.writeHead(200, { 'content-length': body.length })
      response.write(body.subarray(0, 200_000))
      void go.opened.then(() => response.end(body.subarray(200_000)))
    }).href
    const { image } = await store.pull(pullOf('jammy', { url }))
    for (;;) {
      const now = await store.get('jammy', { uuid: image.uuid })
      assert.is(now.state === 'failed', false, now.message)
      if (now.processedSize === 200_000) {
        assert.equal([now.state, now.size, now.progress], ['in-progress', body.length, 66])
        break
      }
      await pause(5)
    }
    go.open()
    assert.is((await outcome(store, image)).progress, 100)
  }),
)

pulls(
  'what fails leaves a failed job that says why, and nothing else',
  pulling(async ({ town, web, open }) => {
    const { store } = await open()
    const url = web.serve('/disk.img', body).href
    const wrong = `sha256:${'0'.repeat(64)}`
    const mismatch = await pulled(store, pullOf('jammy', { url }, { expected: [wrong] }))
    assert.is(mismatch.state, 'failed')
    assert.match(mismatch.message, wrong.slice(7))
    assert.match(mismatch.message, sha256.slice(7))
    const missing = await pulled(store, pullOf('noble', { url: web.url('/none').href }))
    assert.match(missing.message, '404')
    const page = web.serve('/page', Buffer.from('<!doctype html><title>Sign in</title>')).href
    assert.match((await pulled(store, pullOf('focal', { url: page }))).message, 'HTML')
    const kinds = town.unmarked().map((key) => parseJobKey(key)?.kind ?? key)
    assert.equal([...new Set(kinds)].toSorted(), ['claim', 'end'])
    assert.is(town.medium.unfinished.size, 0)
  }),
)

pulls(
  'the digest is the one that the publisher has put beside the image, by its file name',
  pulling(async ({ web, open }) => {
    const { store } = await open()
    const url = web.serve('/images/disk%201.img', body).href
    const other = `${'0'.repeat(64)}  other.img`
    const others = `${other}\n${'1'.repeat(64)}  third.img\n`
    const sums = (text: string) => web.serve('/images/SHA256SUMS', Buffer.from(text)).href
    const good = `${other}\n${sha256.slice(7)} *disk 1.img\n`
    const ready = await pulled(store, pullOf('jammy', { url, checksumUrl: sums(good) }))
    assert.is(ready.state, 'ready', ready.message)
    const bad = `${'0'.repeat(64)}  disk 1.img\n`
    const wrong = await pulled(store, pullOf('noble', { url, checksumUrl: sums(bad) }))
    assert.equal([wrong.state, /sha256.*0000/.test(wrong.message)], ['failed', true], wrong.message)
    const absent = await pulled(store, pullOf('focal', { url, checksumUrl: sums(others) }))
    assert.is(absent.state, 'failed')
    assert.match(absent.message, 'disk 1.img')
    assert.match(absent.message, 'other.img')
  }),
)

pulls(
  'the values of a query are nowhere once the work is over, and never told',
  pulling(async ({ town, web, open }) => {
    const { store, problems } = await open()
    web.serve('/disk.img', body)
    const url = `${web.url('/disk.img').href}?X-Signature=s3cr3t&a=1`
    const { image } = await store.pull(pullOf('jammy', { url }))
    const shown = `${web.url('/disk.img').href}?X-Signature=REDACTED&a=REDACTED`
    assert.equal(image.parameters, { url: shown })
    assert.equal((await outcome(store, image)).parameters, { url: shown })
    assert.is(web.seen('/disk.img')[0]?.path, '/disk.img?X-Signature=s3cr3t&a=1')
    assertNowhere(town, 's3cr3t')
    const bad = `${web.url('/none').href}?token=s3cr3t`
    const failed = await pulled(store, pullOf('noble', { url: bad }))
    assert.is(failed.state, 'failed')
    assert.match(failed.message, 'token=REDACTED')
    assertNowhere(town, 's3cr3t')
    assert.equal(problems, [])
  }),
)

pulls(
  'a request that equals the newest version, ready or in flight, is that version',
  pulling(async ({ web, open }) => {
    const { store } = await open()
    const go = latch()
    web.on('/disk.img', (_, response) => {
      void go.opened.then(() => response.end(body))
    })
    const url = `${web.url('/disk.img').href}?key=one`
    const first = await store.pull(pullOf('jammy', { url }))
    const again = await store.pull(pullOf('jammy', { url }))
    assert.equal([again.created, again.image.uuid], [false, first.image.uuid])
    go.open()
    const ready = await outcome(store, first.image)
    const later = await store.pull(pullOf('jammy', { url }))
    assert.equal([later.created, later.image], [false, ready])
    // Another secret may stand for another file.
    const other = `${web.url('/disk.img').href}?key=two`
    const different = await store.pull(pullOf('jammy', { url: other }))
    assert.equal([different.created, different.image.version], [true, '2'])
    await outcome(store, different.image)
    const checked = pullOf('jammy', { url: other }, { expected: [sha256] })
    assert.is((await store.pull(checked)).created, true)
    const forced = await store.pull(checked, { force: true })
    assert.is(forced.created, true)
    await outcome(store, forced.image)
  }),
)

pulls(
  'what is wrong with the parameters is refused before anything is claimed',
  pulling(
    async ({ town, web, open }) => {
      const { store } = await open()
      const good = web.serve('/disk.img', body).href
      for (const [parameters, expected] of [
        [{}, /parameters\.url is missing/],
        [{ url: 'disk.img' }, /parameters\.url is no URL/],
        [{ url: 'ftp://host/disk.img' }, /only http/],
        [{ url: 'http://user:word@host/disk.img' }, /secretRef/],
        [{ url: 'http://169.254.169.254/latest' }, /DOWNLOAD_ALLOW=169\.254\.169\.254/],
        [{ url: good, checksumUrl: 'http://[fe80::1]/SUMS' }, /link-local/],
        [{ url: good, decompress: 'maybe' }, /auto or never/],
        [{ url: good, sum: 'x' }, /"sum" is no parameter/],
        [{ url: good, credential: { secretRef: 'elsewhere' } }, /not meant for/],
      ] as const) {
        const error = await failure(store.pull(pullOf('jammy', parameters)))
        assert.is(error.reason, 'invalid_request')
        assert.match(error.message, expected)
      }
      const strange = pullOf('jammy', { url: good })
      strange.description.sourceType = 'restore'
      assert.match((await failure(store.pull(strange))).message, 'download')
      assert.equal(town.keys(), [])
      assert.equal(web.requests, [])
    },
    { secrets: { elsewhere: { hosts: ['images.example.org'], headers: {} } } },
  ),
)

pulls(
  'a version that is there is refused, unless it is known to have the very bytes',
  pulling(async ({ web, open }) => {
    const { store } = await open()
    const url = web.serve('/disk.img', body).href
    const ready = await pulled(store, pullOf('jammy', { url }, { version: '7' }))
    const other = web.serve('/other.img', disk(2)).href
    const error = await failure(store.pull(pullOf('jammy', { url: other }, { version: '7' })))
    assert.is(error.reason, 'already_exists')
    assert.match(error.message, 'exists already')
    assert.not.match(error.message, 'other bytes', 'nothing was read')
    assert.is(error.expected, undefined)
    const same = await store.pull(
      pullOf('jammy', { url: other }, { version: '7', expected: [sha256] }),
    )
    assert.equal([same.created, same.image], [false, ready])
  }),
)

pulls(
  'over the limit pulls wait for their turn, and over the queue they are refused',
  pulling(
    async ({ town, web, open }) => {
      const { store } = await open({ atOnce: 1 })
      const go = latch()
      const url = web.on('/disk.img', (_, response) => {
        void go.opened.then(() => response.end(body))
      }).href
      const ask = (count: number) => store.pull(pullOf(`image-${count}`, { url }))
      const accepted = []
      for (let count = 0; count <= 1000; count++) accepted.push((await ask(count)).image)
      const error = await failure(ask(1001))
      assert.is(error.reason, 'too_many_requests')
      assert.is(town.keys('.jobs/image-1001-').length, 0)
      while (web.requests.length === 0) await pause(5)
      assert.is(web.requests.length, 1)
      const last = await store.get('image-1000', { uuid: accepted[1000]?.uuid ?? '' })
      assert.is(last.state, 'pending')
      await store.remove('image-1000')
      go.open()
      const second = await outcome(store, accepted[1] ?? last)
      assert.is(second.state, 'ready')
      await store.stopPulls()
    },
    { idleTimeoutMs: 300_000 },
  ),
)

pulls(
  'deleting it stops the work, and leaves nothing of it',
  pulling(async ({ town, web, open }) => {
    const { store } = await open()
    const begun = latch()
    const left = latch()
    const url = web.on('/disk.img', (_, response) => {
      response.writeHead(200, { 'content-length': body.length })
      response.write(body.subarray(0, 100_000), () => begun.open())
      response.on('close', () => left.open())
    }).href
    await store.pull(pullOf('jammy', { url }))
    await begun.opened
    await store.remove('jammy')
    await left.opened
    assert.is((await failure(store.get('jammy'))).code, 'not_found')
    while (town.unmarked().length > 0) await pause(5)
    assert.is(town.medium.unfinished.size, 0)
  }),
)

pulls(
  'the secrets of a job go with its end, also when who ended it died in between',
  pulling(async ({ town, web, open }) => {
    const first = await open()
    const url = `${web.url('/none').href}?token=s3cr3t`
    const { image } = await first.store.pull(pullOf('jammy', { url }))
    await outcome(first.store, image)
    town.plant(`.jobs/jammy-${image.uuid}/source.json`, JSON.stringify({ parameters: { url } }))
    await first.store.sweep()
    assert.equal(
      town.keys().filter((key) => key.endsWith('source.json')),
      [],
    )
    assert.is((await first.store.get('jammy')).state, 'failed')
  }),
)

pulls.run()
