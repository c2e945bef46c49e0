// What is wrong leaves nothing, or a failed image that says why; and failed images do not pile up.

import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Bytes } from './backend.ts'
import { ImageError, type Reason } from './errors.ts'
import type { IngestRequest } from './request.ts'
import { parseJobKey } from './layout.ts'
import type { ImageStore } from './store.ts'
import { hostileImages } from './testing/images.ts'
import { type Town, disk, failure, inTown, request, streamOf, latch } from './testing/rig.ts'

const failing = suite('store: failure')

const body = disk(1, 5000)

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Only the files of one failed job of that name, and no half of an image, are there. */
async function assertFailed(town: Town, store: ImageStore, name: string): Promise<string> {
  const kinds = town.unmarked().map((key) => parseJobKey(key)?.kind ?? key)
  assert.equal(kinds, ['claim', 'end'], name)
  assert.is(town.medium.unfinished.size, 0)
  const image = await store.get(name)
  assert.is(image.state, 'failed')
  assert.is(image.version, '1')
  assert.equal(await store.get(name, { uuid: image.uuid }), image)
  const error = await failure(store.open(name))
  assert.equal([error.code, error.state], ['not_found', 'failed'])
  assert.match(error.message, image.message)
  return image.message
}

async function* breaking(error: unknown): Bytes {
  yield body.subarray(0, 3000)
  throw error
}

interface Wrong {
  asked?: Partial<IngestRequest> & { expected?: string[] }
  open?: () => Bytes
  reason: Reason
  message: RegExp
}

const visible: Record<string, Wrong> = {
  'a digest that does not match': {
    asked: { expected: [`sha256:${'0'.repeat(64)}`] },
    reason: 'checksum_mismatch',
    message: new RegExp(`${sha256(body)}.*0{64}`),
  },
  'one of two digests that does not match': {
    asked: { expected: [`sha256:${sha256(body)}`, `md5:${'0'.repeat(32)}`] },
    reason: 'checksum_mismatch',
    message: /md5/,
  },
  'a body that ends early': {
    asked: { size: body.length + 1 },
    reason: 'invalid_request',
    message: /Only 5000 of 5001 bytes/,
  },
  'no body': {
    asked: { size: 1 },
    open: () => streamOf(Buffer.alloc(0)),
    reason: 'invalid_request',
    message: /Only 0 of 1 bytes/,
  },
  'an unsafe image': {
    open: () => streamOf(unsafe('qcow2: the backing file /etc/passwd')),
    reason: 'unsafe_image',
    message: /./,
  },
  'an image that is none': {
    open: () => streamOf(unsafe('an HTML page')),
    reason: 'unsupported_format',
    message: /./,
  },
  'a transfer that broke': {
    open: () => breaking(new ImageError('cancelled', 'The client went away.')),
    reason: 'storage_unavailable',
    message: /The client went away/,
  },
}

function unsafe(name: string): Uint8Array {
  const found = hostileImages().find((image) => image.name === name)
  assert.ok(found, name)
  return found.content
}

for (const [what, { asked, open, reason, message }] of Object.entries(visible)) {
  failing(
    `${what} leaves a failed image with its message, and nothing else`,
    inTown(async (town) => {
      const { store, problems } = await town.open()
      const error = await failure(
        store.ingest(request('jammy', asked), open ?? (() => streamOf(body))),
      )
      assert.is(error.reason, reason)
      assert.match(error.message, message)
      assert.is(await assertFailed(town, store, 'jammy'), error.message)
      assert.equal(town.keys('.marks/'), [], 'the bytes were never whole')
      assert.equal(problems, [])
    }),
  )
}

failing(
  'every hostile image is refused by its reason and stores nothing',
  inTown(async (town) => {
    const { store } = await town.open()
    for (const [index, { name, content, reason }] of hostileImages().entries()) {
      const error = await failure(
        store.ingest(request(`hostile-${index}`), () => streamOf(content, 1000)),
      )
      assert.is(error.reason, reason, name)
    }
    assert.equal(
      town.keys().filter((key) => !key.startsWith('.jobs/')),
      [],
    )
  }),
)

failing(
  'an error that nobody expected is the caller’s as it was, and says nothing of itself',
  inTown(async (town) => {
    const { store } = await town.open()
    const secret = new Error('password=hunter2')
    for (const open of [() => breaking(secret), () => Promise.reject(secret)]) {
      const found = await store.ingest(request('jammy'), open).catch((error: unknown) => error)
      assert.is(found, secret)
      const message = await assertFailed(town, store, 'jammy')
      assert.not.match(message, 'hunter2')
      assert.not.match(
        town
          .keys()
          .map((key) => town.text(key))
          .join(''),
        'hunter2',
      )
      await store.remove('jammy')
    }
  }),
)

const traceless: Record<string, Wrong> = {
  'a body longer than announced': {
    asked: { size: 4999 },
    reason: 'invalid_request',
    message: /4999/,
  },
  'a body over the limit': { asked: { sizeMax: 4999 }, reason: 'too_large', message: /4999/ },
  'an announced size over the limit': {
    asked: { size: 5000, sizeMax: 4999 },
    open: () => assert.unreachable('the body was opened') as never,
    reason: 'too_large',
    message: /5000 .*4999/,
  },
  'a source that the client may not read': {
    open: () => breaking(new ImageError('permission_denied', 'No.', { reason: 'forbidden' })),
    reason: 'forbidden',
    message: /No/,
  },
  'too many requests': {
    open: () => breaking(new ImageError('unavailable', 'No.', { reason: 'too_many_requests' })),
    reason: 'too_many_requests',
    message: /No/,
  },
  'bytes that do not fit': { asked: { size: 1e6 }, reason: 'no_space', message: /fit|free/ },
  'bytes that do not fit after all': {
    open: () => streamOf(disk(1, 200_000)),
    reason: 'no_space',
    message: /fit|free/,
  },
}

for (const [what, { asked, open, reason, message }] of Object.entries(traceless)) {
  failing(
    `${what}: no trace is left`,
    inTown(async (town) => {
      const { store, problems } = await town.open()
      town.medium.totalBytes = 100_000
      const error = await failure(
        store.ingest(request('jammy', asked), open ?? (() => streamOf(body))),
      )
      assert.is(error.reason, reason)
      assert.match(error.message, message)
      assert.equal(town.keys(), [])
      assert.is(town.medium.unfinished.size, 0)
      assert.is((await failure(store.get('jammy'))).code, 'not_found')
      assert.equal(problems, [])
    }),
  )
}

failing(
  'a bad name or version is refused before anything is asked of the storage',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const calls: string[] = []
    backend.before = (verb) => void calls.push(verb)
    const bad = [request('../etc'), request('a'), request('jammy', { version: '..' })]
    for (const asked of bad) {
      const error = await failure(store.ingest(asked, () => streamOf(body)))
      assert.is(error.reason, 'invalid_request')
    }
    assert.equal(calls, [])
  }),
)

failing(
  'a client that leaves while it sends leaves a failed image, and its source is let go of',
  inTown(async (town) => {
    const { store } = await town.open()
    const controller = new AbortController()
    const letGo = latch()
    async function* source(): Bytes {
      try {
        for (let count = 0; ; count++) {
          yield disk(count, 300_000)
          if (count === 5) controller.abort(new ImageError('cancelled', 'The client has left.'))
        }
      } finally {
        letGo.open()
      }
    }
    const error = await failure(store.ingest(request('jammy'), source, controller.signal))
    assert.is(error.message, 'The client has left.')
    assert.is(await assertFailed(town, store, 'jammy'), 'The client has left.')
    await letGo.opened
  }),
)

failing.run()
