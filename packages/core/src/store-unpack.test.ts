// An image that comes compressed is stored as what is in it, if that is asked for: its own digests, size
// and format, and what arrived beside them.

import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, type PutOptions, type Stat, readAll } from './backend.ts'
import { algorithms } from './checksum.ts'
import { ImageError } from './errors.ts'
import type { IngestRequest, Ingested } from './request.ts'
import { configKey, parseJobKey } from './layout.ts'
import type { ImageStore } from './store.ts'
import { qcow2Image } from './testing/qcow2.ts'
import { MemoryBackend } from './testing/memory.ts'
import { allCompressions, packed, sample, zerosBytes } from './testing/packed.ts'
import {
  type Town,
  disk,
  failure,
  inTown,
  keysOf,
  latch,
  request,
  streamOf,
} from './testing/rig.ts'

const unpacking = suite('store: unpack')

function auto(overrides: Partial<IngestRequest> & { expected?: string[] } = {}): IngestRequest {
  return request('jammy', { decompress: 'auto', ...overrides })
}

function digest(algorithm: string, body: Uint8Array): string {
  return createHash(algorithm).update(body).digest('hex')
}

function send(store: ImageStore, file: Uint8Array, asked: IngestRequest): Promise<Ingested> {
  return store.ingest(asked, () => streamOf(file, 300))
}

/** Only a failed job. */
function assertOnlyFailed(town: Town): void {
  const kinds = town.unmarked().map((key) => parseJobKey(key)?.kind ?? key)
  assert.equal(kinds, ['claim', 'end'])
  assert.is(town.medium.unfinished.size, 0)
}

/** Knows how the bytes of an image were put. */
class WatchedBackend extends MemoryBackend {
  readonly options: PutOptions[] = []

  override async put(key: string, bytes: Bytes, options: PutOptions = {}): Promise<Stat> {
    if (key.endsWith('/backing')) this.options.push(options)
    return await super.put(key, bytes, options)
  }
}

for (const compression of allCompressions) {
  const file = packed(compression)

  unpacking(
    `${compression}: what is inside is stored, and what arrived is known`,
    inTown(async (town) => {
      const { store, problems } = await town.open()
      const { image } = await send(store, file, auto({ size: file.length }))
      assert.equal(
        [image.state, image.size, image.processedSize, image.format, image.progress],
        ['ready', sample.length, sample.length, 'raw', 100],
      )
      assert.is(image.currentChecksum, digest('sha512', sample))
      assert.is(image.checksums.sha256, digest('sha256', sample))
      const checksums = { sha512: digest('sha512', file), sha256: digest('sha256', file) }
      assert.equal(image.packed, { compression, size: file.length, checksums })
      assert.equal((await store.get('jammy')).packed, image.packed)
      const opened = await store.open('jammy')
      assert.ok((await readAll(await opened.read())).equals(sample))
      assert.equal(town.unmarked(), keysOf(image).toSorted())
      assert.equal(problems, [])
    }),
  )

  unpacking(
    `${compression}: a checksum is met by either form, and by no other`,
    inTown(async (town) => {
      const { store } = await town.open()
      for (const [index, algorithm] of algorithms.entries()) {
        for (const body of [file, sample]) {
          const expected = [`${algorithm}:${digest(algorithm, body)}`]
          const { image } = await send(store, file, auto({ expected }))
          assert.is(image.state, 'ready', `${algorithm} ${index}`)
        }
      }
      await store.remove('jammy')
      for (const algorithm of algorithms) {
        const wrong = `${algorithm}:${digest(algorithm, Buffer.from('another'))}`
        const error = await failure(send(store, file, auto({ expected: [wrong] })))
        assert.equal([error.code, error.reason], ['data_loss', 'checksum_mismatch'])
        for (const body of [file, sample]) assert.match(error.message, digest(algorithm, body))
        assert.match(error.message, wrong.slice(algorithm.length + 1))
        assert.is(error.expected, wrong)
        assertOnlyFailed(town)
        await store.remove('jammy')
      }
    }),
  )

  unpacking(
    `${compression}: what is damaged, or shorter than announced, leaves only a failed job`,
    inTown(async (town) => {
      const { store } = await town.open()
      const damaged = Buffer.from(file)
      damaged[200] = (damaged[200] ?? 0) ^ 0xff
      const half = file.subarray(0, 300)
      for (const [body, size, expected] of [
        [damaged, undefined, /damaged/],
        [half, undefined, /cut off/],
        // That it did not all arrive is what helps more.
        [half, file.length, /Only 300 of \d+ bytes arrived/],
      ] as const) {
        const asked = auto(size === undefined ? {} : { size })
        assert.match((await failure(send(store, body, asked))).message, expected)
        assert.match((await store.get('jammy')).message, expected)
        assertOnlyFailed(town)
        await store.remove('jammy')
      }
    }),
  )

  unpacking(
    `${compression}: without being asked for it is refused, with the field that asks for it`,
    inTown(async (town) => {
      const { store } = await town.open()
      const error = await failure(send(store, file, request('jammy')))
      assert.is(error.reason, 'unsupported_format')
      assert.match(error.message, new RegExp(`${compression} -d FILE.*decompress=auto`))
      assertOnlyFailed(town)
    }),
  )

  unpacking(
    `${compression}: one that grows over MAX_IMAGE_SIZE leaves nothing at all`,
    inTown(async (town) => {
      const { store } = await town.open()
      const bomb = Buffer.concat(Array.from({ length: 8 }, () => packed(compression, 'zeros')))
      const sizeMax = 2 * zerosBytes
      const error = await failure(send(store, bomb, auto({ sizeMax })))
      assert.is(error.reason, 'too_large')
      assert.match(error.message, `MAX_IMAGE_SIZE is ${sizeMax}`)
      assert.equal(town.unmarked(), [])
    }),
  )
}

unpacking(
  'what is not compressed is taken as usual, with its size told to the storage',
  inTown(async (town) => {
    const backend = new WatchedBackend({ shared: town.medium })
    const { store } = await town.open({}, backend)
    for (const body of [disk(1), qcow2Image(), Buffer.from('BZh9'), Buffer.from('x')]) {
      const { image } = await send(store, body, auto({ size: body.length }))
      assert.equal([image.size, image.packed], [body.length, undefined])
      assert.is(image.currentChecksum, digest('sha512', body))
      assert.is(backend.options.pop()?.size, body.length)
    }
    await send(store, packed('xz'), auto({ size: packed('xz').length }))
    assert.is(backend.options.pop()?.size, undefined)
    const empty = await failure(send(store, Buffer.alloc(0), auto()))
    assert.match(empty.message, 'an empty file')
  }),
)

unpacking(
  'what is inside is looked at as every image is: another layer or format is refused',
  inTown(async (town) => {
    const { store } = await town.open()
    for (const [inside, expected] of [
      [packed('xz'), /an xz file, .*One layer has been unpacked already: .* \(`xz -d FILE`\)/],
      [qcow2Image({ backingFile: '/etc/passwd' }), /backing file/],
      [Buffer.from('KDMV'), /VMDK/],
    ] as const) {
      const error = await failure(send(store, gzipSync(inside), auto()))
      assert.match(error.message, expected)
    }
    const { image } = await send(store, gzipSync(qcow2Image()), auto())
    assert.is(image.format, 'qcow2')
  }),
)

unpacking(
  'Longhorn is told of a given SHA-512 only where the stored bytes have it',
  inTown(async (town) => {
    const { store } = await town.open()
    for (const [body, told] of [
      [packed('xz'), ''],
      [sample, digest('sha512', sample)],
    ] as const) {
      const expected = [`sha512:${digest('sha512', body)}`]
      const { image } = await send(store, packed('xz'), auto({ expected }))
      assert.equal([image.expectedChecksum, image.expected], [told, expected[0]])
      const config: unknown = JSON.parse(town.text(configKey('jammy', image.uuid)))
      assert.is((config as { expectedChecksum: string }).expectedChecksum, told)
      await store.remove('jammy')
    }
  }),
)

unpacking(
  'progress is that of the bytes that arrive',
  inTown(async (town) => {
    const { store } = await town.open()
    const file = packed('xz')
    const [reached, go] = [latch(), latch()]
    const asked = auto({ size: file.length })
    const sending = store.ingest(asked, async function* () {
      yield file.subarray(0, file.length / 2)
      reached.open()
      await go.opened
      yield file.subarray(file.length / 2)
    })
    await reached.opened
    const { size, processedSize, progress } = await store.get('jammy', { version: '1' })
    assert.equal([size, processedSize, progress], [file.length, file.length / 2, 50])
    go.open()
    await sending
  }),
)

unpacking(
  'the same bytes under a given version are known by the digest of either form, unread',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await send(store, packed('xz'), auto({ version: 'v1' }))
    const before = town.keys()
    for (const body of [packed('xz'), sample]) {
      for (const algorithm of ['sha512', 'sha256']) {
        const expected = [`${algorithm}:${digest(algorithm, body)}`]
        const again = await store.ingest(auto({ version: 'v1', expected }), () => {
          throw new Error('the body was opened')
        })
        assert.equal(again, { image, created: false })
      }
    }
    assert.equal(town.keys(), before)
  }),
)

unpacking(
  'the same bytes packed in another way are read and known; others are refused',
  inTown(async (town) => {
    const { store } = await town.open()
    const { image } = await send(store, sample, auto({ version: 'v1' }))
    const before = town.keys()
    for (const compression of allCompressions) {
      const file = packed(compression)
      const expected = [`sha256:${digest('sha256', file)}`]
      const asked = auto({ version: 'v1', size: file.length, expected })
      assert.equal(await send(store, file, asked), { image, created: false })
    }
    const other = gzipSync(disk(2))
    const error = await failure(send(store, other, auto({ version: 'v1', size: other.length })))
    assert.is(error.reason, 'already_exists')
    assert.equal(town.keys(), before)
  }),
)

unpacking(
  'an upload that is deleted, or left by its client, ends in the middle',
  inTown(async (town) => {
    const { store } = await town.open()
    const stuck = latch()
    for (const sentBytes of [0, 5, 400]) {
      const begun = latch()
      const left = new AbortController()
      const sending = failure(
        store.ingest(
          auto(),
          async function* () {
            begun.open()
            if (sentBytes > 0) yield packed('xz').subarray(0, sentBytes)
            await stuck.opened
          },
          left.signal,
        ),
      )
      await begun.opened
      await pause(20)
      if (sentBytes === 5) await store.remove('jammy')
      else left.abort(new ImageError('cancelled', 'The client has left.'))
      await sending
      await store.remove('jammy').catch(() => {})
      assert.equal(town.unmarked(), [])
      assert.is(town.medium.unfinished.size, 0)
    }
    stuck.open()
  }),
)

unpacking.run()
