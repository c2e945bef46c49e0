// What lies on the disk: taken where it is what was asked for, left alone until a replacement is whole
// where it is not, and watched as long as it is ready.

import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { qcow2Image, withBytes } from '@backing-image/core/testing'
import {
  type DiskRig,
  anyBytes,
  configOf,
  eventually,
  failureOf,
  launchOf,
  pathOf,
  put,
  sha512,
  sourceOf,
  store,
  withDisk,
} from './testing/disk-rig.ts'

const existing = suite('files that are there')
const content = anyBytes(4096)
const other = anyBytes(4096)

existing(
  'are taken where size and checksum are right, and not read a second time',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, content)
    await rig.disk.fetch(
      launchOf(rig, { size: content.length, expectedChecksum: sha512(content) }),
      path,
    )
    const info = await rig.until(path, 'ready')
    assert.equal([info.progress, info.processedSize, info.size], [100, 4096, 4096])
    assert.is(info.currentChecksum, sha512(content))
    await rig.disk.forget(path)
    rig.faulty.failWhen()
    await rig.disk.fetch(launchOf(rig), path)
    await rig.until(path, 'ready')
    const reads = rig.faulty.calls.filter(({ verb, path: at }) => verb === 'read' && at === path)
    // The head and the tail that tell its format.
    assert.is(reads.length <= 2, true)
  }),
)

const refused: [string, { size?: number; expectedChecksum?: string }][] = [
  ['size', { size: 512 }],
  ['checksum', { expectedChecksum: '1'.repeat(128) }],
]
for (const [what, change] of refused) {
  existing(
    `are not taken with another ${what}, and stay until there is another that is whole`,
    withDisk(async (rig) => {
      const path = pathOf(rig)
      await put(path, content)
      await rig.disk.fetch(launchOf(rig, change), path)
      const info = await rig.until(path, 'failed')
      assert.match(info.message, /should be directly reused but failed/)
      assert.ok((await readFile(path)).equals(content))
      await rig.disk.forget(path)
      // A transfer that breaks leaves it; one that is whole replaces it.
      const launch = launchOf(rig, { size: 1024 })
      await failureOf(
        rig.disk.upload(launch, async () => {
          assert.ok((await readFile(path)).equals(content))
          throw new Error('the sender went away')
        }),
      )
      assert.ok((await readFile(path)).equals(content))
      await rig.disk.forget(path)
      await store(rig, other.subarray(0, 1024))
      assert.ok((await readFile(path)).equals(other.subarray(0, 1024)))
      const left = await rig.left()
      assert.is(left.length, 2, left.join())
    }),
  )
}

existing(
  'without a whole replacement are left as they are when that is not what was asked for',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, content)
    await store(rig, other, { expectedChecksum: '1'.repeat(128) })
    const info = await rig.until(path, 'failed')
    assert.match(
      info.message,
      /^failed to process sync file: the expected checksum 1+ doesn't match/,
    )
    assert.ok((await readFile(path)).equals(content))
    assert.equal((await rig.left()).length, 1)
  }),
)

existing(
  'that are no image anybody should open are taken, without a virtual size',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const chained = qcow2Image({ backingFile: '/etc/passwd' })
    await put(path, chained)
    await rig.disk.fetch(launchOf(rig), path)
    const info = await rig.until(path, 'ready')
    assert.equal([info.currentChecksum, info.virtualSize], [sha512(chained), 0])
    await rig.disk.forget(path)
    const vmdk = withBytes('KDMV\x01\0\0\0')
    await put(path, vmdk)
    await rig.disk.fetch(launchOf(rig), path)
    assert.is((await rig.until(path, 'ready')).virtualSize, vmdk.length)
  }),
)

existing(
  'that are ready and touched are unknown in the first answer, and then ready again',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await store(rig, content)
    const before = await rig.until(path, 'ready')
    await utimes(path, 1_700_000_000, 1_700_000_000)
    const first = await rig.disk.get(path)
    assert.is(first.state, 'unknown')
    assert.is(first.modificationTime, '2023-11-14 22:13:20 +0000 UTC')
    assert.is(
      first.message,
      'ready file is suddenly modified at 2023-11-14 22:13:20 +0000 UTC, need to re-check the checksum',
    )
    const again = await rig.until(path, 'ready')
    assert.equal([again.message, again.currentChecksum], ['', before.currentChecksum])
    assert.is(again.modificationTime, first.modificationTime)
    assert.is((await configOf(path))['modificationTime'], first.modificationTime)
  }),
)

existing(
  'that are ready and changed are unknown and then failed, in the list as well, and stay',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await store(rig, content)
    await writeFile(path, other)
    assert.equal(
      (await rig.disk.list()).map((each) => each.state),
      ['unknown'],
    )
    const info = await rig.until(path, 'failed')
    assert.match(
      info.message,
      /^ready file is modified at .* UTC with a different checksum [0-9a-f]{128}, previous checksum/,
    )
    assert.ok((await readFile(path)).equals(other))
    const error = await failureOf(rig.disk.send(path, '127.0.0.1:9'))
    assert.is(error.message, 'invalid state failed for file sending')
  }),
)

existing(
  'that vanish are unknown without a time, then failed',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await store(rig, content)
    await rm(path)
    const first = await rig.disk.get(path)
    assert.equal([first.state, first.modificationTime], ['unknown', ''])
    assert.match((await rig.until(path, 'failed')).message, /is no file of \d+ bytes any more/)
    await rig.disk.remove(path)
    assert.equal(await rig.left(), [])
  }),
)

existing(
  'that can not be looked at are unknown as long as that lasts, and no other is',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await store(rig, content)
    await store(rig, other, { path: sourceOf(rig), uuid: 'other' })
    rig.faulty.failWhen((call) => (call.verb === 'lstat' && call.path === path ? 'EIO' : undefined))
    const states = (list: Awaited<ReturnType<DiskRig['disk']['list']>>): string[] =>
      list.map((each) => each.state)
    assert.equal(states(await rig.disk.list()), ['unknown', 'ready'])
    assert.match((await rig.disk.get(path)).message, /EIO/)
    rig.faulty.failWhen()
    assert.equal(states(await rig.disk.list()), ['ready', 'ready'])
  }),
)

existing(
  'that are changed while they are removed are not brought back by half',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await store(rig, content)
    for (let round = 0; round < 20; round += 1) {
      await utimes(path, round, round)
      const told = rig.disk.get(path).catch(() => {})
      await Promise.all([told, rig.disk.remove(path)])
      await eventually('nothing is left', async () => (await rig.left()).length === 0)
      await store(rig, content)
    }
    assert.is((await stat(path)).size, 4096)
  }),
)

existing.run()
