// Two whole servers, of which one syncs from the other: what comes over, and how much of it has to pass
// between them.

import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LocalBackend } from '@backing-image/backend-local'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { askJson, put } from './testing/serving.ts'
import { type Two, assertSame, blockBytes, change, diskOf, synced, two } from './testing/syncing.ts'

const sync = suite('sync')

const folder = mkdtempSync(join(tmpdir(), 'sync-'))
sync.after(() => rmSync(folder, { recursive: true, force: true }))

async function onDisk(name: string): Promise<LocalBackend> {
  const root = join(folder, name)
  mkdirSync(root)
  return await LocalBackend.open({ root, lowWaterBytes: 0 })
}

sync(
  'an image comes over with its size, digests, format and labels',
  two(async ({ sender, receiver, from }) => {
    const disk = diskOf(2)
    const given = await put(sender, 'base?version=2024-1&label=os=debian&label=tier=a', disk)
    const parameters = { from: `${from}/`, name: 'base' }
    const image = await synced(receiver, 'copy', parameters, { labels: { tier: 'b' } })
    assert.is(image.state, 'ready', image.message)
    assert.equal(
      [image.size, image.format, image.checksums, image.virtualSize],
      [given.size, given.format, given.checksums, given.virtualSize],
    )
    assert.equal(image.labels, { os: 'debian', tier: 'b' })
    assert.equal(image.parameters, { ...parameters, version: '2024-1' })
    assert.is(image.sourceType, 'sync')
    assert.is(image.checksums.sha512, createHash('sha512').update(disk).digest('hex'))
    await assertSame(receiver, 'copy', disk)
    assert.equal(receiver.problems, [])
  }),
)

sync(
  'the same request again is the same image, on its way and after, also with the version that came',
  two(async ({ sender, receiver, from }) => {
    await put(sender, 'base', diskOf(1))
    const document = { name: 'copy', sourceType: 'sync', parameters: { from, name: 'base' } }
    const post = async (parameters: object) =>
      await askJson(receiver, 'POST', '/v1/backing-images', {
        body: JSON.stringify({ ...document, parameters }),
        headers: { 'content-type': 'application/json' },
      })
    const first = await post(document.parameters)
    const image = await synced(receiver, 'other', document.parameters)
    assert.is(image.state, 'ready')
    const exact = { ...document.parameters, version: '1' }
    const path = `/v1/backing-images/copy?uuid=${first.json.uuid}&wait=60`
    assert.is((await askJson(receiver, 'GET', path)).json.state, 'ready')
    const again = await post(exact)
    assert.equal([first.status, again.status, again.json.uuid], [202, 200, first.json.uuid])
    assert.is((await post(document.parameters)).json.uuid, first.json.uuid)
  }),
)

/** Runs a claim on two servers with disks of their own. */
function onDisks(name: string, claim: (rig: Two) => Promise<void>): () => Promise<void> {
  return async () => {
    const senderBackend = await onDisk(`${name}-sender`)
    const receiverBackend = await onDisk(`${name}-receiver`)
    try {
      await two(claim, { senderBackend, receiverBackend })()
    } finally {
      await Promise.all([senderBackend.close(), receiverBackend.close()])
    }
  }
}

sync(
  'a new version of which 2 % have changed moves at most 3 % of its bytes',
  onDisks('changed', async ({ sender, receiver, relay, from }) => {
    const disk = diskOf(50, (block) => block % 5 !== 0)
    await put(sender, 'base', disk)
    const parameters = { from, name: 'base' }
    assert.is((await synced(receiver, 'base', parameters)).state, 'ready')
    change(disk, 23)
    await put(sender, 'base', disk)
    const before = relay.receivedBytes
    const image = await synced(receiver, 'base', parameters)
    assert.equal([image.state, image.version], ['ready', '2'], image.message)
    const moved = relay.receivedBytes - before
    assert.ok(moved >= blockBytes, `${moved} bytes can not be a block`)
    assert.ok(moved <= 0.03 * disk.length, `${moved} of ${disk.length} bytes were moved`)
    await assertSame(receiver, 'base', disk)
  }),
)

sync(
  'zeros cost nothing, neither on the wire nor on the disk',
  onDisks('zeros', async ({ sender, receiver, relay, from }) => {
    // The first block has the boot sector.
    const disk = diskOf(40, (block) => block % 16 !== 1)
    const dataBytes = 4 * blockBytes
    await put(sender, 'base', disk)
    const before = relay.receivedBytes
    const image = await synced(receiver, 'base', { from, name: 'base' })
    assert.is(image.state, 'ready', image.message)
    const moved = relay.receivedBytes - before
    assert.ok(moved <= 1.02 * dataBytes, `${moved} bytes were moved`)
    assert.ok(image.realSize <= 1.02 * dataBytes, `${image.realSize} are allocated`)
    await assertSame(receiver, 'base', disk)
  }),
)

sync('what another image here has is not fetched, be it on another kind of store', async () => {
  const receiverBackend = await onDisk('mixed')
  try {
    await two(
      async ({ sender, receiver, relay, from }) => {
        const disk = diskOf(4)
        await put(sender, 'base', disk)
        const other = diskOf(5)
        disk.copy(other, 2 * blockBytes, blockBytes, 3 * blockBytes)
        await put(receiver, 'other', other)
        const before = relay.receivedBytes
        const image = await synced(receiver, 'base', { from, name: 'base' })
        assert.is(image.state, 'ready', image.message)
        const moved = relay.receivedBytes - before
        assert.ok(moved >= 2 * blockBytes && moved < 3.02 * blockBytes, `${moved} bytes`)
        await assertSame(receiver, 'base', disk)
      },
      { receiverBackend },
    )()
  } finally {
    await receiverBackend.close()
  }
})

sync.run()
