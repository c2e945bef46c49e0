// Syncs from a manager whose image changes on the way, or that does not tell the truth: what is there in
// the end is one of its images, or nothing.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { blockBytes } from '../blocks.ts'
import { parseJobKey } from '../layout.ts'
import type { ImageStore } from '../store.ts'
import type { Manager } from './testing/manager.ts'
import { type Syncing, imageOf, syncing, upload } from './testing/syncing.ts'

const sync = suite('sync: changes and lies')

const long = imageOf(1, 2, 3, 4, 5, 6, 7, 8)
const older = imageOf(1, 0, 2, 3, 0, 4)

async function assertBytes(store: ImageStore, name: string, expected: Buffer): Promise<void> {
  const opened = await store.open(name)
  assert.ok((await readAll(await opened.read(), 2 ** 26)).equals(expected), 'the bytes differ')
}

/** A failed job is all that is there. */
function assertNothingLeft({ town }: Syncing): void {
  const kinds = new Set(town.unmarked().map((key) => parseJobKey(key)?.kind ?? key))
  assert.equal([...kinds].toSorted(), ['claim', 'end'])
  assert.is(town.medium.unfinished.size, 0)
}

/** Once so many parts have been asked for, `act` is done. */
function after({ manager }: Syncing, parts: number, act: () => void): void {
  manager.mischief = ({ what, count }) => {
    if (what === 'download' && count === parts) act()
    return undefined
  }
}

sync(
  'a newer version, and the end of the old one, on the way: the newer one is what comes',
  syncing(long, async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    const disk = imageOf(1, 2, 11, 12, 13, 6, 7, 8, 9)
    after(rig, 6, () => {
      manager.disk = disk
      manager.version = '2'
    })
    const image = await rig.sync(store)
    assert.is(image.state, 'ready', image.message)
    assert.is(image.parameters['version'], '2')
    await assertBytes(store, 'copy', disk)
    assert.match(rig.troubles[0]?.message ?? '', /base 1 was deleted or replaced/)
  }),
)

sync(
  'a version that is asked for by name and deleted on the way is a failure that says so',
  syncing(long, async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    after(rig, 6, () => (manager.isDeleted = true))
    const image = await rig.sync(store, { version: '1' })
    assert.is(image.state, 'failed')
    assert.match(image.message, /it has no base 1 that is ready/)
    assertNothingLeft(rig)
  }),
)

sync(
  'a version that is there again with other bytes is never mixed with the first',
  syncing(long, async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    const disk = imageOf(1, 2, 3, 4, 5, 6, 7, 99)
    after(rig, 6, () => (manager.disk = disk))
    const image = await rig.sync(store, { version: '1' })
    assert.is(image.state, 'ready', image.message)
    await assertBytes(store, 'copy', disk)
  }),
)

function spoilt(manager: Manager): Buffer {
  const disk = Buffer.from(manager.disk)
  disk[3 * blockBytes + 7] = 255 - (disk[3 * blockBytes + 7] ?? 0)
  return disk
}

for (const hasIndex of [true, false]) {
  const expected = hasIndex ? /block index of the source says/ : /sha512 of the received bytes/
  sync(
    `wrong bytes with a right digest ${hasIndex ? 'and index' : 'alone'} are found out, and nothing is left`,
    syncing(older, async (rig) => {
      const { manager, open } = rig
      const { store } = await open()
      manager.hasIndex = hasIndex
      const wrong = spoilt(manager)
      manager.mischief = ({ what, start, end }) =>
        what === 'download' ? { body: wrong.subarray(start, end + 1) } : undefined
      const image = await rig.sync(store)
      assert.is(image.state, 'failed')
      assert.match(image.message, expected)
      assertNothingLeft(rig)
    }),
  )
}

sync(
  'an index of other bytes can not make them the image',
  syncing(older, async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    await upload(store, 'other', imageOf(0, 9, 2, 3, 4))
    const { sha512 } = manager
    manager.disk = imageOf(0, 9, 2, 3, 0, 4)
    manager.told = { checksums: { sha512 } }
    manager.mischief = ({ what }) =>
      what === 'download' ? { headers: { etag: `"${sha512}"` }, status: 206 } : undefined
    const image = await rig.sync(store)
    assert.is(image.state, 'failed')
  }),
)

for (const where of ['image', 'blocks', 'download'] as const) {
  sync(
    `another protocol in answer to what is asked of the ${where} is a failure that says so`,
    syncing(older, async (rig) => {
      const { manager, open } = rig
      const { store } = await open()
      const headers = { connection: 'upgrade', upgrade: 'x' }
      manager.mischief = ({ what }) => (what === where ? { status: 101, headers } : undefined)
      const image = await rig.sync(store)
      assert.is(image.state, 'failed')
      assert.match(image.message, 'it answered 101 Switching Protocols')
      assertNothingLeft(rig)
      manager.mischief = undefined
      assert.is((await rig.sync(store)).state, 'ready')
    }),
  )
}

sync(
  'bytes of another format than it says, and another digest than was asked for, are failures',
  syncing(older, async (rig) => {
    const { manager, open } = rig
    const { store } = await open()
    manager.told = { format: 'iso' }
    const image = await rig.sync(store)
    assert.equal(
      [image.state, image.message.includes('says that it is iso; it is raw')],
      ['failed', true],
    )
    manager.told = {}
    const expected = [`sha256:${'0'.repeat(64)}`]
    const other = await rig.sync(store, { expected, name: 'other' })
    assert.is(other.state, 'failed')
    assert.match(other.message, /sha256/)
    assertNothingLeft(rig)
  }),
)

sync.run()
