// Backups into a folder: what is there afterwards, what is told meanwhile, and what goes wrong.

import { mkdir, readFile, readdir, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { BackupOrder, BackupsOptions } from './backup.ts'
import { blockBytes, blockPath, checksumOf } from './layout.ts'
import { Place, mixedImage, sha512 } from './testing/place.ts'

const backing = suite('backup')

async function withPlace(
  test: (place: Place) => Promise<void>,
  options: Partial<BackupsOptions> = {},
): Promise<void> {
  const place = await Place.make(options)
  try {
    await test(place)
  } finally {
    await place.remove()
  }
}

async function failureOf(work: Promise<unknown>): Promise<Error> {
  try {
    await work
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error('It did not fail.')
}

for (const compressionMethod of ['none', 'gzip', 'lz4', '']) {
  backing(`what is backed up as "${compressionMethod}" comes back, byte by byte`, () =>
    withPlace(async (place) => {
      const image = mixedImage()
      const { state, progress, backupUrl, error } = await place.backup(
        await place.order(image, { compressionMethod }),
      )
      assert.equal([state, progress, error], ['complete', 100, ''])
      assert.is(backupUrl, `${place.url}?backingImage=debian`)
      assert.is(sha512(await place.restore(backupUrl)), sha512(image))
      assert.is((await place.config())['CompressionMethod'], compressionMethod || 'gzip')
      assert.equal(await place.locks(), [])
    }),
  )
}

backing('the target has what others look for, and nothing else', () =>
  withPlace(async (place) => {
    const image = mixedImage()
    const [twice, noise, last] = [0, 2, 6].map((index) =>
      image.subarray(index * blockBytes, (index + 1) * blockBytes),
    )
    const order = await place.order(image, {
      labels: ['longhorn.io/by=me', 'a=b=c'],
      parameters: { secret: 'keys', 'secret-namespace': 'longhorn', other: 'x' },
    })
    await place.backup(order)
    const [one, two, three] = await Promise.all(
      [twice, noise, last].map((block) => checksumOf(Uint8Array.from(block ?? []))),
    )
    assert.is(one, sha512(twice ?? image).slice(0, 64))
    const { CreatedTime, CompleteTime, ...config } = await place.config()
    assert.equal(config, {
      Name: 'debian',
      Size: String(image.length),
      BlockCount: '4',
      Checksum: sha512(image),
      Labels: { 'longhorn.io/by': 'me', a: 'b=c' },
      CompressionMethod: 'lz4',
      Secret: 'keys',
      SecretNamespace: 'longhorn',
      ProcessingBlocks: { Blocks: {} },
      Blocks: [
        { Offset: 0, BlockChecksum: one },
        { Offset: 2 * blockBytes, BlockChecksum: two },
        { Offset: 3 * blockBytes, BlockChecksum: one },
        { Offset: 6 * blockBytes, BlockChecksum: three },
      ],
    })
    for (const time of [CreatedTime, CompleteTime]) {
      assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    }
    assert.equal(
      await place.files(),
      [
        'backupstore/backing-images/backing-images/debian/backing-image.cfg',
        ...[one, two, three].map((checksum) => blockPath(checksum ?? '')),
      ].toSorted(),
    )
  }),
)

backing('an image of zeros is a backup without blocks', () =>
  withPlace(async (place) => {
    const image = Buffer.alloc(3 * blockBytes)
    const { backupUrl } = await place.backup(await place.order(image))
    assert.not('Blocks' in (await place.config()))
    assert.ok((await place.restore(backupUrl)).equals(image))
  }),
)

backing('a block that is there is not sent again, but for one that a power cut emptied', () =>
  withPlace(async (place) => {
    const image = mixedImage()
    await place.backup(await place.order(image))
    const [one = '', two = ''] = await place.files('.blk')
    await utimes(join(place.root, one), 1, 1)
    await truncate(join(place.root, two), 0)
    const { backupUrl } = await place.backup(await place.order(image, { name: 'other' }))
    assert.is((await stat(join(place.root, one))).mtimeMs, 1000)
    assert.is(sha512(await place.restore(backupUrl)), sha512(image))
  }),
)

backing('a backup that is there is complete at once; one of other bytes is in the way', () =>
  withPlace(async (place) => {
    const image = mixedImage()
    await place.backup(await place.order(image))
    const before = await place.config()
    await place.backups.create(await place.order(image, { uuid: '2' }))
    assert.equal(place.backups.status('debian'), {
      progress: 100,
      backupUrl: `${place.url}?backingImage=debian`,
      error: '',
      state: 'complete',
    })
    const other = await failureOf(place.backups.create(await place.order(mixedImage())))
    assert.match(other.message, /failed to create backup debian: .*other bytes/)
    assert.is(place.backups.status('debian').state, 'error')
    assert.equal(await place.config(), before)
    assert.equal(await place.locks(), [])
  }),
)

backing('what a process left that was killed is in nobody’s way', () =>
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

backing('nothing is backed up while somebody deletes, until that is long ago', () =>
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

backing('two backups at once both become whole, of one image or of two', () =>
  withPlace(async (place) => {
    const image = mixedImage()
    const one = await place.order(image)
    await Promise.all([
      place.backups.create(one),
      // The same again, by whoever has not heard of the first.
      place.backups.create(one),
      place.backups.create({ ...one, uuid: '2' }),
      place.backups.create(await place.order(image, { name: 'other', concurrentLimit: 5 })),
    ])
    for (const name of ['debian', 'other']) {
      const { state, backupUrl } = await place.end(name)
      assert.is(state, 'complete')
      assert.is(sha512(await place.restore(backupUrl)), sha512(image))
    }
  }),
)

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

backing('an order that is wrong is refused with what is wrong', () =>
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

backing('a file that is not what it should be is not backed up, and leaves no backup', () =>
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

backing('a target that can not take a block ends the backup, and is left without it', () =>
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

backing('the newest backup of a name is told of, and the five newest are remembered', () =>
  withPlace(async (place) => {
    await failureOf(place.backups.create(await place.order(mixedImage(), { backupTarget: 'x:' })))
    assert.is(place.backups.status('debian').state, 'error')
    await place.backup(await place.order(mixedImage()))
    assert.is(place.backups.status('debian').state, 'complete')
    for (let index = 1; index <= 4; index += 1) {
      await place.backup(await place.order(Buffer.alloc(512, index), { name: `more-${index}` }))
    }
    assert.is(place.backups.status('debian').state, 'complete')
    await place.backup(await place.order(Buffer.alloc(512, 9), { name: 'more-9' }))
    const error = await failureOf((async () => place.backups.status('debian'))())
    assert.ok(isImageError(error, 'not_found'))
    assert.is(
      error.message,
      'failed to get backup status debian: backup backing image not found debian',
    )
  }),
)

backing('whoever ends takes back what is not complete', () =>
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

backing('the checksum of an image is made where none is given', () =>
  withPlace(async (place) => {
    const image = mixedImage()
    await place.backup(await place.order(image, { checksum: '' }))
    assert.is((await place.config())['Checksum'], sha512(image))
    const path = (await place.files('.blk'))[0] ?? ''
    assert.ok((await readFile(join(place.root, path))).length > 0)
  }),
)

backing.run()
