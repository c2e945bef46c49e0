// Backups that are refused, that fail half way, and that others left: nothing is in the way of the next.

import { mkdir, readdir, rm, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { BackupOrder } from './backup.ts'
import { blockBytes, blockPath, checksumOf } from './layout.ts'
import { failureOf, mixedImage, sha512, withPlace } from './testing/place.ts'

const failing = suite('backup: failures')

const wrong: [string, Partial<BackupOrder>, RegExp][] = [
  [
    'a name of 65',
    { name: 'a'.repeat(65) },
    /invalid backing image name a+ for it is longer than 64/,
  ],
  ['a name that leads elsewhere', { name: '../up' }, /invalid backing image name/],
  ['no target', { backupTarget: '' }, /missing input parameter/],
  ['a label without a value', { labels: ['a='] }, /failed to parse backup labels.*empty value/],
  ['a label that is none', { labels: ['a'] }, /invalid label not in <key>=<value> format/],
  ['a key that is none', { labels: ['a/b/c=d'] }, /invalid key a\/b\/c for label/],
  ['an unknown compression', { compressionMethod: 'zip' }, /unsupported compression method: zip/],
  ['no image', { path: '/nowhere/at/all' }, /failed to initialize backup debian: ENOENT/],
  ['an unknown kind of target', { backupTarget: 'azblob://x/' }, /driver azblob is not supported/],
  ['a share of Windows', { backupTarget: 'cifs://x/y' }, /driver cifs is not supported/],
  ['no URL', { backupTarget: 'somewhere' }, /is no URL/],
  ['a host for a folder', { backupTarget: 'vfs://host/path' }, /vfs:\/\/\/path\//],
  ['no folder', { backupTarget: 'vfs:///nowhere/at/all' }, /doesn't exist or is not a directory/],
  ['an export without a server', { backupTarget: 'nfs:///x' }, /nfs:\/\/<server-address>:/],
]

failing('an order that is wrong is refused with what is wrong', () =>
  withPlace(async (place) => {
    const order = await place.order(mixedImage())
    for (const [what, change, message] of wrong) {
      const error = await failureOf(place.backups.create({ ...order, ...change }))
      assert.match(error.message, message, what)
    }
    for (const sizeBytes of [0, 511, 513]) {
      const odd = await place.order(Buffer.alloc(sizeBytes, 1))
      const error = await failureOf(place.backups.create(odd))
      assert.match(error.message, new RegExp(`${sizeBytes} .*should be a multiple of 512 bytes`))
    }
    assert.equal(await place.files(), [])
  }),
)

failing('a file that is not what it should be is not backed up, and leaves no backup', () =>
  withPlace(async (place) => {
    const damaged = await place.backup(
      await place.order(mixedImage(), { checksum: sha512(Buffer.of(1)) }),
    )
    assert.is(damaged.state, 'error')
    assert.match(damaged.error, /The checksum of \S+ is \w+, not/)
    assert.equal(await place.files('.cfg'), [])
    const order = await place.order(mixedImage(), { name: 'other' })
    await place.backups.create(order)
    await utimes(order.path, 1, 1)
    const changed = await place.end('other')
    assert.match(changed.error, /has changed during its backup/)
    assert.equal(await place.files('.cfg'), [])
    assert.is(changed.progress < 100, true)
    assert.ok(place.told.some((line) => line.includes('has changed during')))
  }),
)

failing('a target that can not take a block ends the backup, and is left without it', () =>
  withPlace(async (place) => {
    const image = mixedImage()
    const checksum = await checksumOf(Uint8Array.from(image.subarray(0, blockBytes)))
    // Nobody can write where a folder with content is, not even root.
    await mkdir(join(place.root, blockPath(checksum), 'x'), { recursive: true })
    const order = await place.order(image)
    const failed = await place.backup(order)
    assert.equal([failed.state, failed.backupUrl], ['error', ''])
    assert.match(failed.error, /is in the way/)
    assert.equal(await place.files('.cfg'), [])
    assert.equal(await place.locks(), [])
    const leftovers = (await place.files()).filter((path) => path.includes('.tmp.'))
    assert.equal(leftovers, [])
    await rm(join(place.root, blockPath(checksum)), { recursive: true })
    assert.is((await place.backup(order)).state, 'complete')
  }),
)

failing('what a process left that was killed is in nobody’s way', () =>
  withPlace(async (place) => {
    const image = mixedImage()
    const order = await place.order(image)
    await place.backup(order)
    const path = join(
      place.root,
      'backupstore/backing-images/backing-images/debian/backing-image.cfg',
    )
    const { Blocks: _, ...config } = await place.config()
    await writeFile(path, JSON.stringify({ ...config, CompleteTime: '', ProcessingBlocks: null }))
    const [block = ''] = await place.files('.blk')
    await rm(join(place.root, block))
    const dead = await place.lock(1, 60_000)
    const { backupUrl } = await (async () => {
      await place.backups.create({ ...order, uuid: '2' })
      for (;;) {
        const status = place.backups.status('debian')
        if (status.state !== 'in_progress') return status
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })()
    assert.is(sha512(await place.restore(backupUrl)), sha512(image))
    await rm(join(place.root, dead))
    // One that can not be read at all is no better.
    await writeFile(path, '{"Name":')
    await place.backup({ ...order, uuid: '3' })
    assert.is(sha512(await place.restore(backupUrl)), sha512(image))
  }),
)

failing('nothing is backed up while somebody deletes, until that is long ago', () =>
  withPlace(async (place) => {
    const order = await place.order(mixedImage())
    const lock = await place.lock(2, 100_000)
    const error = await failureOf(place.backups.create(order))
    assert.match(error.message, /failed to acquire lock \S+ when performing backup create\/restore/)
    assert.equal(await place.files(), [lock])
    assert.match(place.backups.status('debian').error, /please try again later/)
    await rm(join(place.root, lock))
    // Whoever has just come, and waits for us, is not before us.
    for (const [ageMs, isAcquired] of [
      [151_000, true],
      [-60_000, false],
    ] as const) {
      const other = await place.lock(2, ageMs, isAcquired)
      await place.backups.create({ ...order, uuid: String(ageMs) })
      await rm(join(place.root, other))
      assert.is((await place.end()).state, 'complete')
    }
  }),
)

failing('whoever ends takes back what is not complete', () =>
  withPlace(async (place) => {
    const image = Buffer.concat(Array.from({ length: 8 }, () => mixedImage()))
    await place.backups.create(await place.order(image, { concurrentLimit: 1 }))
    await place.backups.close()
    const { state, error } = place.backups.status('debian')
    assert.is(state, 'error')
    assert.match(error, /has been ended/)
    assert.equal(await place.files('.cfg'), [])
    assert.equal(await place.locks(), [])
    assert.ok((await readdir(place.root)).length <= 1)
  }),
)

failing.run()
