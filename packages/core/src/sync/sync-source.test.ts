// The source type `sync` over real stores: what of an image comes over the wire, and what is there in
// the end.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { blockBytes } from '../blocks.ts'
import type { Image } from '../image.ts'
import { blocksKey, bytesKey } from '../layout.ts'
import type { ImageStore } from '../store.ts'
import { description, failure, keysOf, request, skip } from '../testing/rig.ts'
import { type Syncing, imageOf, syncing, upload } from './testing/syncing.ts'

const sync = suite('sync')

/** Another version of it has another third block. */
const older = [1, 0, 2, 3, 0, 4]
const newer = [1, 0, 9, 3, 0, 4]

async function assertBytes(store: ImageStore, name: string, expected: Buffer): Promise<void> {
  const opened = await store.open(name)
  assert.ok((await readAll(await opened.read(), 2 ** 26)).equals(expected), 'the bytes differ')
}

/** The blocks that were fetched, in whatever order they were asked for. */
function fetched({ manager }: Syncing): number[] {
  const blocks = manager.of('download').map(({ start }) => start / blockBytes)
  return blocks.toSorted((a, b) => a - b)
}

sync(
  'an image that is new here comes without its zeros, and as it is there',
  syncing(imageOf(...older), async (rig) => {
    const { town, manager, open } = rig
    const { store, problems } = await open()
    manager.version = '2024-1'
    manager.labels = { os: 'debian' }
    const image = await rig.sync(store)
    assert.is(image.state, 'ready', image.message)
    assert.equal([image.labels, image.format], [{ os: 'debian' }, 'raw'])
    const { href: from } = manager.base
    assert.equal(image.parameters, { from, name: 'base', version: '2024-1' })
    assert.is(image.checksums.sha512, manager.sha512)
    await assertBytes(store, 'copy', manager.disk)
    assert.equal(fetched(rig), [0, 2, 3, 5])
    assert.ok(manager.asked.every(({ headers }) => headers['x-sync-id'] === image.uuid))
    assert.equal(town.unmarked(), keysOf(image).toSorted())
    assert.equal([problems, rig.troubles], [[], []])
  }),
)

sync(
  'who asks for the same once more gets what has come, by the version that came as well; force asks anew',
  syncing(imageOf(...older), async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    const first = await rig.sync(store)
    manager.version = '2'
    assert.is((await rig.ask(store)).uuid, first.uuid)
    assert.is((await rig.ask(store, { version: '1' })).uuid, first.uuid)
    const second = await rig.sync(store, { version: '2' })
    assert.not(second.uuid === first.uuid)
    // It was asked for by that name, and no other.
    const third = await rig.sync(store, { force: false })
    assert.not([first.uuid, second.uuid].includes(third.uuid))
    assert.is((await rig.ask(store, { force: true })).version, '4')
  }),
)

sync(
  'of a new version only what has changed is fetched',
  syncing(imageOf(...older), async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    await rig.sync(store)
    manager.asked.length = 0
    manager.disk = imageOf(...newer)
    manager.version = '2'
    const image = await rig.sync(store)
    assert.equal([image.state, image.version], ['ready', '2'], image.message)
    await assertBytes(store, 'copy', manager.disk)
    assert.equal(fetched(rig), [2])
  }),
)

sync(
  'blocks of other images here are used, wherever in them they are',
  syncing(imageOf(...older), async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    await upload(store, 'other', imageOf(0, 3, 8, 2, 5))
    await upload(store, 'third', imageOf(0, 6, 4, 9))
    assert.is((await rig.sync(store)).state, 'ready')
    await assertBytes(store, 'copy', manager.disk)
    // The fourth is a whole block there, and only begins alike here.
    assert.equal(fetched(rig), [0, 5])
  }),
)

sync(
  'blocks that another server of the store took in are used, too',
  syncing(imageOf(...older), async (rig) => {
    const { open } = rig
    const { store } = await open()
    await store.list()
    const other = await open()
    await upload(other.store, 'other', imageOf(0, 3, 1))
    skip(10_000)
    assert.is((await rig.sync(store)).state, 'ready')
    assert.equal(fetched(rig), [0, 2, 5])
  }),
)

sync(
  'what is spoilt here is fetched',
  syncing(imageOf(...older), async (rig) => {
    const { town, manager, open } = rig
    const { store } = await open()
    const { uuid } = await upload(store, 'copy', imageOf(...newer))
    const body = town.medium.objects.get(bytesKey('copy', uuid))?.body ?? Buffer.alloc(0)
    body[3 * blockBytes + 7] = 255 - (body[3 * blockBytes + 7] ?? 0)
    const image = await rig.sync(store)
    assert.is(image.state, 'ready', image.message)
    await assertBytes(store, 'copy', manager.disk)
    assert.equal(fetched(rig), [2, 3])
    assert.match(rig.troubles[0]?.message ?? '', /not what its block index says/)
  }),
)

for (const [what, spoil] of [
  ['is not there', undefined],
  ['is of another image', imageOf(0, 0, 0, 0, 0, 0)],
] as const) {
  sync(
    `an own block index that ${what} costs bytes, never the image`,
    syncing(imageOf(...older), async (rig) => {
      const { town, manager, open } = rig
      const { store } = await open()
      const { uuid } = await upload(store, 'copy', manager.disk)
      const key = blocksKey('copy', uuid)
      if (spoil) town.medium.write(key, spoil.subarray(0, 6 * 33))
      else town.medium.remove(key)
      const image = await rig.sync(store)
      assert.is(image.state, 'ready', image.message)
      await assertBytes(store, 'copy', manager.disk)
      assert.equal(fetched(rig), [0, 2, 3, 5])
    }),
  )
}

sync(
  'without an index over there all of it comes',
  syncing(imageOf(...older), async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    manager.hasIndex = false
    await upload(store, 'copy', manager.disk)
    assert.is((await rig.sync(store)).state, 'ready')
    assert.equal(fetched(rig), [0, 1, 2, 3, 4, 5])
  }),
)

sync(
  'who is told to wait waits, and is told of',
  syncing(imageOf(1, 2), async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    let isBusy = true
    manager.mischief = ({ what }) =>
      what === 'download' && isBusy ? { status: 429, headers: { 'retry-after': '1' } } : undefined
    const asked = await rig.ask(store)
    while (rig.troubles.length === 0) await pause(5)
    isBusy = false
    const image: Image = await store.wait('copy', { uuid: asked.uuid }, 60_000)
    assert.is(image.state, 'ready', image.message)
    assert.match(rig.troubles.map(({ message }) => message).join(), /^[^,]*wait for a turn[^,]*$/)
  }),
)

sync(
  'what is wrong with the parameters is refused before anything is claimed',
  syncing(imageOf(1), async ({ town, manager, open }) => {
    const { store } = await open()
    const from = manager.base.href
    for (const [parameters, expected] of [
      [{ name: 'base' }, /parameters\.from is missing/],
      [{ from }, /parameters\.name is missing/],
      [{ from: 'images.example.org', name: 'base' }, /is no URL/],
      [{ from: `${from}?a=b`, name: 'base' }, /has a query or a fragment/],
      [{ from: `${from}?`, name: 'base' }, /has a query or a fragment/],
      [{ from: `${from}#a`, name: 'base' }, /has a query or a fragment/],
      [{ from: 'http://user:word@host/', name: 'base' }, /secretRef/],
      [{ from: 'ftp://host/', name: 'base' }, /only http/],
      [{ from: 'http://169.254.169.254/', name: 'base' }, /DOWNLOAD_ALLOW/],
      [{ from, name: 'Base' }, /no image name/],
      [{ from, name: '../base' }, /no image name/],
      [{ from, name: 'base', version: 'a/b' }, /no version/],
      [{ from, name: 'base', url: 'http://host/' }, /"url" is no parameter/],
      [
        { from: 'http://10.0.0.1/', name: 'base', credential: { secretRef: 'key' } },
        /not meant for/,
      ],
    ] as const) {
      const described = description({ sourceType: 'sync', parameters })
      const error = await failure(store.pull({ ...request('copy'), description: described }))
      assert.is(error.reason, 'invalid_request')
      assert.match(error.message, expected)
    }
    assert.equal(town.keys(), [])
    assert.equal(manager.asked, [])
  }),
)

sync.run()
