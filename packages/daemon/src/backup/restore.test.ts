// Backups out of a folder: in their order and whole, or an error that says which block is to blame.

import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { type Code, isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { blockBytes, blockPath, checksumOf } from './layout.ts'
import { compressLz4 } from './lz4.ts'
import { openBackup } from './restore.ts'
import { Place, mixedImage, settleMs, sha512 } from './testing/place.ts'

const restoring = suite('restore')

/** An image that is backed up; its first block is also its third but one, its second is all zeros. */
interface Backed {
  place: Place
  image: Buffer
  url: string
  /** The file of the noise, which is the third block. */
  noise: { path: string; checksum: string; plain: Buffer }
}

async function withBackup(
  test: (backed: Backed) => Promise<void>,
  compressionMethod: string = 'lz4',
): Promise<void> {
  const place = await Place.make()
  try {
    const image = mixedImage()
    const { backupUrl: url } = await place.backup(await place.order(image, { compressionMethod }))
    const plain = image.subarray(2 * blockBytes, 3 * blockBytes)
    const checksum = await checksumOf(Uint8Array.from(plain))
    const noise = { path: join(place.root, blockPath(checksum)), checksum, plain }
    await test({ place, image, url, noise })
  } finally {
    await place.remove()
  }
}

async function assertRefused(work: Promise<unknown>, code: Code, message: RegExp): Promise<void> {
  try {
    await work
  } catch (error) {
    assert.ok(isImageError(error, code), String(error))
    assert.match((error as Error).message, message)
    return
  }
  assert.unreachable('It was restored.')
}

restoring('its size and checksum are told, and its bytes come in order, holes as zeros', () =>
  withBackup(async ({ place, image, url }) => {
    for (const concurrentLimit of [0, 1, 3, 1_000]) {
      const opened = await openBackup(url, {}, { concurrentLimit, settleMs })
      assert.equal([opened.size, opened.checksum], [image.length, sha512(image)])
      assert.is((await place.locks()).length, 1)
      let offset = 0
      for await (const chunk of opened.bytes) {
        assert.ok(image.subarray(offset, offset + chunk.length).equals(chunk), `at ${offset}`)
        offset += chunk.length
      }
      assert.is(offset, image.length)
      await opened.close()
      await opened.close()
      assert.equal(await place.locks(), [])
    }
  }),
)

restoring('a URL that came through a shell is the same backup', () =>
  withBackup(async ({ place, image, url }) => {
    const [target = '', name = ''] = url.split('?')
    const escaped = `"${target}?nfsOptions=soft\\u0026${name}"`
    assert.ok((await place.restore(escaped)).equals(image))
    await assertRefused(
      place.restore(target),
      'invalid_argument',
      /invalid backing image name parsed/,
    )
    const up = `${target}?backingImage=..%2Fx`
    await assertRefused(place.restore(up), 'invalid_argument', /invalid backing image name parsed/)
  }),
)

restoring('a block that is missing is named', () =>
  withBackup(async ({ place, url, noise }) => {
    await rm(noise.path)
    await assertRefused(place.restore(url), 'not_found', new RegExp(`block \\S*${noise.checksum}`))
    assert.equal(await place.locks(), [])
  }),
)

for (const method of ['none', 'gzip', 'lz4']) {
  restoring(`a block of "${method}" that is damaged, cut off or another one is named`, () =>
    withBackup(async ({ place, url, noise }) => {
      const stored = await readFile(noise.path)
      const changed = Buffer.from(stored)
      changed[stored.length >> 1] = (changed[stored.length >> 1] ?? 0) ^ 1
      const others = Buffer.from(noise.plain).fill(7, 5, 6)
      for (const bytes of [
        changed,
        stored.subarray(0, -1),
        stored.subarray(0, 5),
        Buffer.alloc(0),
        Buffer.concat([stored, Buffer.alloc(blockBytes)]),
        others,
        gzipSync(others),
        compressLz4(others),
        // Far more than a block, out of little.
        gzipSync(Buffer.alloc(64 * 1024 * 1024)),
      ]) {
        await writeFile(noise.path, bytes)
        const message = new RegExp(`block \\S*${noise.checksum}`)
        await assertRefused(place.restore(url), 'data_loss', message)
      }
    }, method),
  )
}

restoring('a block that another backup compressed otherwise is understood', () =>
  withBackup(async ({ place, image, url, noise }) => {
    for (const bytes of [noise.plain, gzipSync(noise.plain), compressLz4(noise.plain)]) {
      await writeFile(noise.path, bytes)
      assert.ok((await place.restore(url)).equals(image))
    }
  }),
)

const damages: [string, Record<string, unknown>, Code, RegExp][] = [
  ['incomplete', { CompleteTime: '' }, 'failed_precondition', /still in progress/],
  ['of size 0', { Size: '0', Blocks: [] }, 'data_loss', /invalid backing image size 0/],
  ['without a size', { Size: '' }, 'data_loss', /Size is no number/],
  ['of an odd size', { Size: 'x' }, 'data_loss', /Size is no number/],
  ['of a number', { Checksum: 5 }, 'data_loss', /Checksum is no text/],
  ['without a list', { Blocks: {} }, 'data_loss', /Blocks is no list/],
  ['with null', { Blocks: [null] }, 'data_loss', /a block is at/],
  ['outside', { Blocks: [{ Offset: 64 * blockBytes }] }, 'data_loss', /a block is at 134217728/],
  ['in between', { Blocks: [{ Offset: 512 }] }, 'data_loss', /a block is at 512/],
  ['elsewhere', { Blocks: [{ Offset: 0, BlockChecksum: '../../x' }] }, 'data_loss', /64 hex/],
  [
    'twice',
    { Blocks: [0, 0].map((Offset) => ({ Offset, BlockChecksum: 'a'.repeat(64) })) },
    'data_loss',
    /two blocks at 0/,
  ],
  [
    'compressed otherwise',
    { CompressionMethod: 'zip' },
    'invalid_argument',
    /unsupported compression/,
  ],
]

restoring('a backup that is incomplete, damaged or not there is not begun', () =>
  withBackup(async ({ place, url }) => {
    const path = 'backupstore/backing-images/backing-images/debian/backing-image.cfg'
    const config = await place.config()
    for (const [, change, code, message] of damages) {
      await place.write(path, JSON.stringify({ ...config, ...change }))
      await assertRefused(place.restore(url), code, message)
    }
    for (const text of ['', '[', '5', 'null']) {
      await place.write(path, text)
      await assertRefused(place.restore(url), 'data_loss', /no JSON object/)
    }
    await rm(join(place.root, path))
    await assertRefused(place.restore(url), 'not_found', /debian doesn't exist in backup store/)
    assert.equal(await place.locks(), [])
  }),
)

restoring('one that others wrote long ago, without a compression, is of gzip', () =>
  withBackup(async ({ place, image, url }) => {
    const path = 'backupstore/backing-images/backing-images/debian/backing-image.cfg'
    const { CompressionMethod: _, Labels: __, ...config } = await place.config()
    await place.write(path, JSON.stringify(config))
    assert.ok((await place.restore(url)).equals(image))
  }, 'gzip'),
)

restoring('nothing is restored while somebody deletes', () =>
  withBackup(async ({ place, url }) => {
    await place.lock(2, 1_000)
    await assertRefused(place.restore(url), 'aborted', /failed to acquire lock/)
    assert.is((await place.locks()).length, 1)
  }),
)

restoring('whoever is told to stop does, before and in the middle', () =>
  withBackup(async ({ place, url }) => {
    const stopping = new AbortController()
    const options = { concurrentLimit: 2, settleMs, signal: stopping.signal }
    const opened = await openBackup(url, {}, options)
    await opened.bytes.next()
    stopping.abort(new Error('enough'))
    for (const work of [opened.bytes.next(), openBackup(url, {}, options)]) {
      try {
        await work
        assert.unreachable('It goes on.')
      } catch (error) {
        assert.is((error as Error).message, 'enough')
      }
    }
    await opened.close()
    assert.equal(await place.locks(), [])
  }),
)

restoring.run()
