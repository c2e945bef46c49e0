// Backups into a folder: what is there afterwards, what is told meanwhile, and what goes wrong.

import { readFile, stat, truncate, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { blockBytes, blockPath, checksumOf } from './layout.ts'
import { failureOf, mixedImage, sha512, withPlace } from './testing/place.ts'

const backing = suite('backup')

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
