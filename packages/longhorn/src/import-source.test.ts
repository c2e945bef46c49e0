// Images that Longhorn has, brought here: whole and verified, or not at all.

import { createHash, randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Asked, ask, bringing, brought, bytesOf, outcome } from './testing/bringing.ts'
import type { Payload } from './testing/stand-in.ts'
import { readyImage } from './testing/stand-in-image.ts'

const importing = suite('images of Longhorn')

const disk = Buffer.concat([Buffer.alloc(4096), randomBytes(1_000_000), Buffer.alloc(700_448)])
const jammy: Asked = { sourceType: 'longhorn', parameters: { 'backing-image': 'jammy' } }

importing(
  'an image comes unpacked and verified, with the copies that it has there',
  bringing(async ({ standIn, open }) => {
    const copies = { minNumberOfCopies: 2, nodeSelector: ['ssd'], diskSelector: ['fast'] }
    standIn.images.set('jammy', readyImage('jammy', disk, copies))
    const store = await open()
    const image = await brought(store, 'ubuntu', jammy)
    assert.equal([image.state, image.format], ['ready', 'raw'], image.message)
    assert.ok((await bytesOf(store, 'ubuntu')).equals(disk))
    assert.is(image.currentChecksum, createHash('sha512').update(disk).digest('hex'))
    assert.is(image.packed, undefined)
    const { minNumberOfCopies, nodeSelector, diskSelector } = image
    assert.equal({ minNumberOfCopies, nodeSelector, diskSelector }, copies)
    const other = await brought(store, 'other', { ...jammy, minNumberOfCopies: 5 })
    assert.is(other.minNumberOfCopies, 5)
    assert.is(standIn.count('POST', /./) + standIn.count('DELETE', /./), 0)
  }),
)

importing(
  'what is asked for again is there already',
  bringing(async ({ standIn, open }) => {
    standIn.images.set('jammy', readyImage('jammy', disk))
    const store = await open()
    const first = await brought(store, 'ubuntu', jammy)
    assert.is((await ask(store, 'ubuntu', jammy)).uuid, first.uuid)
    assert.is(standIn.count('GET', /download$/), 1)
  }),
)

importing(
  'a disk of nothing but zeros comes whole, however well it packs',
  bringing(async ({ standIn, open }) => {
    const zeros = Buffer.alloc(64 * 1024 * 1024)
    standIn.images.set('jammy', readyImage('jammy', zeros))
    const image = await brought(await open(), 'ubuntu', jammy)
    assert.equal([image.state, image.size], ['ready', zeros.length], image.message)
  }),
)

importing(
  'only the gzip of the API is unpacked: a packed image stays what it is, and is refused',
  bringing(async ({ standIn, open }) => {
    standIn.images.set('jammy', readyImage('jammy', gzipSync(disk)))
    const image = await brought(await open(), 'ubuntu', jammy)
    assert.is(image.state, 'failed')
    assert.match(image.message, 'a gzip file')
  }),
)

const breaks: [string, (packed: Buffer) => Payload][] = [
  ['a connection that breaks', (packed) => ({ sent: packed.subarray(0, 300_000), end: 'broken' })],
  ['an end in the middle', (packed) => ({ sent: packed.subarray(0, 300_000) })],
  ['less, as if that were all', () => ({ sent: gzipSync(disk.subarray(0, 300_000)) })],
  [
    'less, and then a text',
    () => ({ sent: Buffer.concat([gzipSync(disk.subarray(0, 300_000)), Buffer.from('EIO')]) }),
  ],
  ['more than there is', () => ({ sent: gzipSync(Buffer.concat([disk, disk])) })],
  ['a page', () => ({ sent: Buffer.from('<html>') })],
  ['nothing', () => ({ sent: Buffer.alloc(0) })],
]
for (const [what, change] of breaks) {
  importing(
    `${what} is no image: it begins anew`,
    bringing(async ({ standIn, open, troubles }) => {
      standIn.images.set('jammy', readyImage('jammy', disk))
      let count = 0
      standIn.payload = (_, packed) => (++count <= 2 ? change(packed) : { sent: packed })
      const store = await open()
      const image = await brought(store, 'ubuntu', jammy)
      assert.is(image.state, 'ready', image.message)
      assert.ok((await bytesOf(store, 'ubuntu')).equals(disk))
      assert.is(troubles.length, 2)
      assert.match(troubles[0]?.message ?? '', 'Longhorn did not give jammy whole')
    }),
  )
}

importing(
  'an image over the limit is not fetched',
  bringing(async ({ standIn, open }) => {
    standIn.images.set('jammy', readyImage('jammy', disk))
    const image = await brought(await open({ sizeMax: 1000 }), 'ubuntu', jammy)
    assert.is(image.state, 'failed')
    assert.match(image.message, 'MAX_IMAGE_SIZE is 1000')
    assert.is(standIn.count('GET', /download$/), 0)
  }),
)

importing(
  'what never comes whole fails in the end, and nothing is stored',
  bringing(async ({ standIn, open, medium }) => {
    standIn.images.set('jammy', readyImage('jammy', disk))
    standIn.payload = (_, packed) => ({ sent: packed.subarray(0, 300_000) })
    const image = await brought(await open(), 'ubuntu', jammy)
    assert.is(image.state, 'failed')
    assert.match(image.message, 'cut off')
    assert.is(standIn.count('GET', /download$/), 6)
    assert.equal(
      [...medium.objects.keys()].filter((key) => !key.startsWith('.')),
      [],
    )
  }),
)

importing(
  'bytes with another checksum are refused at once, and nothing is stored',
  bringing(async ({ standIn, open, medium }) => {
    standIn.images.set('jammy', readyImage('jammy', disk, { currentChecksum: '0'.repeat(128) }))
    const image = await brought(await open(), 'ubuntu', jammy)
    assert.is(image.state, 'failed')
    assert.match(image.message, /checksum|sha512/)
    assert.is(standIn.count('GET', /download$/), 1)
    assert.equal(
      [...medium.objects.keys()].filter((key) => !key.startsWith('.')),
      [],
    )
  }),
)

importing(
  'what Longhorn is still making is waited for, and its checksum, too',
  bringing(async ({ standIn, open }) => {
    const state = { dataEngine: 'v1', state: 'in-progress', progress: 50, message: '' }
    const making = readyImage('jammy', disk, { disks: { 'disk-1': state }, currentChecksum: '' })
    const { disks, currentChecksum } = readyImage('jammy', disk)
    standIn.images.set('jammy', making)
    const store = await open()
    const job = await ask(store, 'ubuntu', jammy)
    const asked = async (): Promise<void> => {
      const count = standIn.count('GET', /jammy$/)
      while (standIn.count('GET', /jammy$/) < count + 2) await new Promise(setImmediate)
    }
    await asked()
    making.disks = disks
    await asked()
    assert.is(standIn.count('GET', /download$/), 0)
    making.currentChecksum = currentChecksum
    assert.is((await outcome(store, job)).state, 'ready')
  }),
)

const failed = { dataEngine: 'v1', state: 'failed', progress: 0, message: 'no space left on disk' }
const hopeless: [string, Parameters<typeof readyImage>[2] | undefined, RegExp][] = [
  ['has failed', { disks: { 'disk-1': failed } }, /failed to make jammy: no space left on disk\.$/],
  ['is not there', undefined, /does not show jammy \(404\): .*not found/],
]
for (const [what, changes, words] of hopeless) {
  importing(
    `an image that ${what} fails at once, in the words of Longhorn`,
    bringing(async ({ standIn, open, troubles }) => {
      if (changes) standIn.images.set('jammy', readyImage('jammy', disk, changes))
      const image = await brought(await open(), 'ubuntu', jammy)
      assert.is(image.state, 'failed')
      assert.match(image.message, words)
      assert.equal([standIn.requests.length, troubles.length], [1, 0])
    }),
  )
}

importing(
  'what does not come on is given up',
  bringing(async ({ standIn, open }) => {
    standIn.images.set('jammy', readyImage('jammy', disk, { disks: {} }))
    const image = await brought(await open({ stallMaxMs: 5 }), 'ubuntu', jammy)
    assert.is(image.state, 'failed')
    assert.match(image.message, /told nothing new of jammy for 0\.005 s; it is pending/)
  }),
)

importing(
  'an API that is away for a while is waited for, and told of once',
  bringing(async ({ standIn, open, troubles }) => {
    standIn.images.set('jammy', readyImage('jammy', disk))
    standIn.fault = () => (standIn.requests.length <= 4 ? { isBroken: true } : undefined)
    const image = await brought(await open(), 'ubuntu', jammy)
    assert.is(image.state, 'ready', image.message)
    assert.is(troubles.length, 1)
    assert.match(troubles[0]?.message ?? '', 'was not reached')
  }),
)

importing(
  'one that stays away ends the attempts, which are counted',
  bringing(async ({ standIn, open, troubles }) => {
    standIn.fault = () => ({ isBroken: true })
    const image = await brought(await open({ outageMaxMs: 0 }), 'ubuntu', jammy)
    assert.is(image.state, 'failed')
    assert.match(image.message, 'LONGHORN_API_URL')
    assert.ok(troubles.length >= 5 && standIn.requests.length < 20)
  }),
)

importing(
  'a server that stops leaves it to the next, which begins anew',
  bringing(async ({ standIn, open }) => {
    standIn.images.set('jammy', readyImage('jammy', disk, { disks: {} }))
    const first = await open()
    const job = await ask(first, 'ubuntu', jammy)
    while (standIn.requests.length === 0) await new Promise(setImmediate)
    await first.close()
    const second = await open()
    standIn.images.set('jammy', readyImage('jammy', disk))
    assert.is((await outcome(second, job)).state, 'ready')
  }),
)

const refusals: [string, Asked['parameters'], RegExp][] = [
  ['without a name', {}, /backing-image is missing/],
  ['with a name that is none', { 'backing-image': '../x' }, /"\.\.\/x"/],
  [
    'with a secret',
    { 'backing-image': 'jammy', credential: { secretRef: 'a' } },
    /LONGHORN_AUTH_TOKEN/,
  ],
  ['with something else', { 'backing-image': 'jammy', url: 'x' }, /"url" is no parameter/],
]
for (const [what, parameters, words] of refusals) {
  importing(
    `a request ${what} is refused before anything is asked`,
    bringing(async ({ standIn, open }) => {
      const work = ask(await open(), 'ubuntu', { ...jammy, parameters })
      const error = await work.catch((reason: unknown) => reason as Error)
      assert.match((error as Error).message, words)
      assert.is(standIn.requests.length, 0)
    }),
  )
}

importing.run()
