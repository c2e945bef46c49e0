// Another manager as it should not be: what is asked of it, what of its answers is believed, and when
// it is asked again.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { failure } from '../testing/rig.ts'
import { WebProxy } from '../testing/web-proxy.ts'
import { type Rig, body, facing } from './testing/facing.ts'
import { indexOf } from './testing/manager.ts'

const remote = suite('another manager')

const { signal } = new AbortController()
const image = (rig: Rig) => rig.remote.image('base', undefined, signal)

for (const root of ['', '/some/place', '/some/place/']) {
  remote(
    `each request to a base URL that ends in "${root}" carries the id and the secret`,
    facing(
      {
        root: root.replace(/\/$/, ''),
        base: (usual) => new URL(root || '/', usual),
        credential: { headers: { authorization: 'Bearer t0ken' }, hosts: ['127.0.0.1'] },
      },
      async (rig) => {
        const found = await rig.remote.image('base', '1', signal)
        await rig.remote.blocks(found, signal)
        await rig.remote.bytes(found, { start: 5, end: 9 }, signal)
        assert.equal(
          rig.manager.asked.map(({ what, query }) => [what, query]),
          [
            ['image', 'state=ready&version=1'],
            ['blocks', 'version=1'],
            ['download', 'version=1'],
          ],
        )
        for (const { headers } of rig.manager.asked) {
          assert.equal([headers['x-sync-id'], headers.authorization], ['0123abcd', 'Bearer t0ken'])
        }
        const [download] = rig.manager.of('download')
        const { range, 'if-match': condition } = download?.headers ?? {}
        assert.equal([range, condition], ['bytes=5-9', `"${rig.manager.sha512}"`])
      },
    ),
  )
}

remote('a proxy is for others, never for a manager', async () => {
  const proxy = await WebProxy.start()
  try {
    await facing({ proxy: proxy.url }, async (rig) => {
      assert.is((await image(rig)).size, body.length)
      assert.equal(proxy.seen, [])
    })()
  } finally {
    await proxy.stop()
  }
})

remote(
  'what it says is taken as far as it is used',
  facing({}, async (rig) => {
    rig.manager.labels = { os: 'debian', empty: '' }
    const { sha512 } = rig.manager
    assert.equal(await image(rig), {
      name: 'base',
      version: '1',
      size: body.length,
      sha512,
      etag: `"${sha512}"`,
      format: 'raw',
      labels: { os: 'debian', empty: '' },
    })
    const index = await rig.remote.blocks(await image(rig), signal)
    assert.equal(index?.format(), indexOf(body).format())
    const part = await rig.remote.bytes(await image(rig), { start: 7, end: 299_999 }, signal)
    assert.ok(Buffer.from(part).equals(body.subarray(7)))
    assert.equal(rig.troubles, [])
  }),
)

const many = Object.fromEntries(Array.from({ length: 65 }, (_, count) => [`k${count}`, '']))
const lies: [string, Record<string, unknown>][] = [
  ['another name', { name: 'other' }],
  ['no name', { name: '../../etc' }],
  ['a version that is none', { version: 'a b' }],
  ['a failed image', { state: 'failed' }],
  ['a negative size', { size: -1 }],
  ['half a byte', { size: 1.5 }],
  ['a size beyond all numbers', { size: 1e300 }],
  ['a size as text', { size: '4096' }],
  ['no checksums', { checksums: null }],
  ['a short checksum', { checksums: { sha512: 'ab' } }],
  ['a checksum that is no hex', { checksums: { sha512: 'x'.repeat(128) } }],
  ['a format nobody knows', { format: 'vmdk' }],
  ['labels that are none', { labels: { 'a b': 'c' } }],
  ['a label that is no text', { labels: { a: 1 } }],
  ['a label with a line break', { labels: { a: 'b\nc' } }],
  ['too many labels', { labels: many }],
  ['megabytes', { message: 'x'.repeat(5 * 1024 * 1024) }],
]
for (const [what, told] of lies) {
  remote(
    `of ${what} nothing is believed, and nothing asked again`,
    facing({ retryDelaysMs: [0, 0] }, async (rig) => {
      rig.manager.told = told
      const error = await failure(image(rig))
      assert.match(error.message, /what it says of base is not understood.*from is the base URL/)
      assert.is(error.reason, 'invalid_request')
      assert.is(rig.manager.asked.length, 1)
    }),
  )
}

remote(
  'a page that is no image, and another version than asked for, are not understood',
  facing({}, async (rig) => {
    rig.manager.mischief = () => ({ body: '<!doctype html><title>Sign in</title>' })
    assert.match((await failure(image(rig))).message, 'not understood')
    rig.manager.mischief = () => ({ body: 'null' })
    assert.match((await failure(image(rig))).message, 'not understood')
    rig.manager.mischief = undefined
    rig.manager.told = { version: '2' }
    const asked = rig.remote.image('base', '1', signal)
    assert.match((await failure(asked)).message, 'not understood')
  }),
)

for (const [status, expected] of [
  [401, /answered 401: parameters\.credential .*secretRef.* names the secret/],
  [403, /answered 403: parameters\.credential/],
  [404, /has no base that is ready.*from, name and version/],
  [400, /answered 400/],
] as const) {
  remote(
    `${status} ends it at once, and says what to do`,
    facing({ retryDelaysMs: [0, 0] }, async (rig) => {
      rig.manager.mischief = () => ({ status })
      const error = await failure(image(rig))
      assert.match(error.message, expected)
      assert.is(error.reason, 'invalid_request')
      assert.is(rig.manager.asked.length, 1)
    }),
  )
}

remote(
  'a secret that is not taken is told of, not told',
  facing(
    { credential: { headers: { authorization: 'Bearer t0ken' }, hosts: ['127.0.0.1'] } },
    async (rig) => {
      rig.manager.mischief = () => ({ status: 401 })
      const { message } = await failure(image(rig))
      assert.match(message, /401 to the secret that credential names/)
      assert.not.match(message, 't0ken')
    },
  ),
)

remote(
  'it waits as long as it is told to, which is no failure and told once',
  facing({}, async (rig) => {
    const found = await image(rig)
    const startedAtMs = performance.now()
    rig.manager.mischief = ({ count }) =>
      count <= 2 ? { status: 429, headers: { 'retry-after': '1' } } : undefined
    await rig.remote.bytes(found, { start: 0, end: 9 }, signal)
    assert.ok(performance.now() - startedAtMs >= 1990)
    assert.is(rig.manager.of('download').length, 3)
    assert.equal([rig.troubles.length, /429/.test(String(rig.troubles[0]))], [1, true])
  }),
)

remote(
  'who waits for a turn can be called off',
  facing({}, async (rig) => {
    rig.manager.mischief = () => ({ status: 429, headers: { 'retry-after': '300' } })
    const off = new AbortController()
    const reason = new Error('called off')
    const work = rig.remote.image('base', undefined, off.signal)
    while (rig.troubles.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    off.abort(reason)
    assert.is(await work.catch((error: unknown) => error), reason)
  }),
)

for (const [what, told] of [
  ['an index of another length', { body: Buffer.alloc(34) }],
  ['an index of an image much larger', { body: Buffer.alloc(1024 * 1024) }],
  ['an index that calls data zeros', { body: Buffer.alloc(33, 1) }],
  ['an index that its own side finds spoilt', { status: 500 }],
] as const) {
  remote(
    `${what} is none`,
    facing({}, async (rig) => {
      const found = await image(rig)
      rig.manager.mischief = () => told
      assert.is(await rig.remote.blocks(found, signal), undefined)
      assert.match(rig.troubles[0]?.message ?? '', /its block index of base 1/)
    }),
  )
}

remote(
  'a manager without an index is as good, and no trouble',
  facing({}, async (rig) => {
    rig.manager.hasIndex = false
    assert.is(await rig.remote.blocks(await image(rig), signal), undefined)
    assert.equal(rig.troubles, [])
  }),
)

remote.run()
