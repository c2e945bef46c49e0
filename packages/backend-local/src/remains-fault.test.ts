// Calls that fail or hang during puts that may be gone on with: what was told to be durable is there
// and right, nothing is told that may not be, and nothing else is left.

import { randomBytes } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, isImageError, orUndefined, readAll } from '@backing-image/core'
import { FaultyDisk, HangingDisk, openFiles, temporaries } from './testing/index.ts'
import { leave, leftKey, unfinished, whole, withRoot } from './testing/leave.ts'

const faults = suite('local: faults of puts that are gone on with')
const mebibyte = 1024 * 1024
const body = Buffer.concat([randomBytes(2 * mebibyte), Buffer.alloc(mebibyte), randomBytes(90_000)])

/** One failing call of a put whose source fails after its last byte, or not. False: no such call. */
async function failCall(
  index: number,
  errno: string,
  failure: Error | undefined,
): Promise<boolean> {
  let isReached = false
  await withRoot(async (root, open) => {
    const faulty = new FaultyDisk()
    const backend = await open({ disk: faulty.disk })
    faulty.failAt(index, errno)
    const { error, told } = await leave(backend, body, failure)
    isReached = faulty.calls.length > index
    const { verb, path } = faulty.calls[index] ?? {}
    const what = `call ${index} (${verb} ${path}) fails with ${errno}: ${String(error)}`
    faulty.failWhen()
    const object = await orUndefined(backend.get(leftKey))
    if (object) assert.ok((await readAll(object, 2 * body.length)).equals(body), what)
    if (failure) assert.is(object, undefined, what)
    else if (error === undefined) assert.ok(object, what)
    const last = told.at(-1) ?? 0
    const left = await backend.remains(leftKey, backend.owner, last)
    assert.is(left !== undefined, last > 0 && !object, what)
    if (left) {
      const found = await whole(backend, backend.owner, last)
      assert.ok(found.equals(body.subarray(0, left.offset)), what)
    }
    assert.equal(await openFiles(root), [], what)
    for (const { id } of await unfinished(backend)) await backend.discard(id)
    assert.equal(await temporaries(root), [], what)
  })
  return isReached
}

for (const failure of [new Error('cut'), undefined]) {
  const when = failure ? 'that fails' : 'that would succeed'
  faults(`any call of a put ${when} may fail: what was told is there and right`, async () => {
    for (const errno of ['EIO', 'ENOSPC']) {
      let index = 0
      while (await failCall(index, errno, failure)) index += 1
      assert.ok(index > 8, `only ${index} calls were seen`)
    }
  })
}

faults('a sync that failed is not repeated for what is kept', () =>
  withRoot(async (_, open) => {
    const faulty = new FaultyDisk()
    const backend = await open({ disk: faulty.disk })
    let syncs = 0
    faulty.failWhen(({ verb }) => {
      if (verb !== 'datasync') return undefined
      syncs += 1
      return syncs === 2 ? 'EIO' : undefined
    })
    const { told, error } = await leave(backend, randomBytes(9 * mebibyte), new Error('cut'))
    assert.ok(isImageError(error, 'unavailable'), String(error))
    assert.is(syncs, 2)
    assert.is(told.length, 1)
  }),
)

faults('an abort while the disk hangs is left at once, and tells nothing afterwards', () =>
  withRoot(async (root, open) => {
    const hanging = new HangingDisk()
    const backend = await open({ disk: hanging.disk })
    const controller = new AbortController()
    const reason = new Error('stop')
    const told: number[] = []
    const asked: unknown[] = []
    const chunk = randomBytes(mebibyte)
    async function* endless(): Bytes {
      for (;;) {
        if (told.length > 0 && hanging.running === 0) hanging.hang()
        yield chunk
      }
    }
    const put = backend.put(leftKey, endless(), {
      signal: controller.signal,
      keep: (error) => asked.push(error) > 0,
      onDurable: (bytes) => told.push(bytes),
    })
    while (told.length === 0 || hanging.running === 0) await new Promise(setImmediate)
    controller.abort(reason)
    assert.is(await put.catch((error: unknown) => error), reason)
    assert.equal(asked, [reason])
    const before = [...told]
    const syncs = hanging.count('datasync')
    hanging.release()
    while ((await openFiles(root)).length > 0) await new Promise(setImmediate)
    assert.equal(told, before)
    assert.ok(hanging.count('datasync') <= syncs + 1, 'it was synced for nobody')
    assert.equal(asked, [reason])
    const left = await whole(backend, backend.owner, told.at(-1) ?? 0)
    assert.ok(left.equals(Buffer.alloc(left.length, chunk)))
  }),
)

faults.run()
