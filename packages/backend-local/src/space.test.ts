// Free space: what is not there is refused before the first byte, what is reserved is not given
// twice, and a full medium can still be tidied.

import { statSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, bytesOf, isImageError } from '@backing-image/core'
import { nodeDisk, type Disk } from './disk.ts'
import { LocalBackend } from './index.ts'
import { FaultyDisk, Gate, openFiles, temporaries, withFolder } from './testing/index.ts'

const space = suite('local: space')
const mebibyte = 1024 * 1024
const gibibyte = 1024 * mebibyte

interface Medium {
  totalBytes: number
  freeBytes: number
}

/** The real disk, which says that it has as much room as `medium` tells. */
function sized(medium: Medium): Disk {
  const statfs = async (): ReturnType<Disk['statfs']> => ({
    bsize: 4096,
    blocks: medium.totalBytes / 4096,
    bavail: medium.freeBytes / 4096,
  })
  return { ...nodeDisk, statfs }
}

async function refusal(work: Promise<unknown>): Promise<Error> {
  const error = await work.catch((thrown: unknown) => thrown)
  assert.ok(isImageError(error, 'resource_exhausted'), String(error))
  assert.is(error.reason, 'no_space')
  return error
}

/** Counts how often it is read; runs `end` at its end. */
function source(chunkCount: number, end: () => Promise<void> = async () => {}): Counted {
  const chunk = Buffer.alloc(mebibyte)
  const counted: Counted = {
    pulls: 0,
    async *[Symbol.asyncIterator]() {
      for (let count = 0; count < chunkCount; count += 1) {
        counted.pulls += 1
        await new Promise((go) => setImmediate(go))
        yield chunk
      }
      await end()
    },
  }
  return counted
}

interface Counted extends Bytes {
  pulls: number
}

space('free space is what is available less 1 % of the medium, at most 1 GiB', () =>
  withFolder(async (root) => {
    const medium = { totalBytes: 100 * mebibyte, freeBytes: 50 * mebibyte }
    const backend = await LocalBackend.open({ root, disk: sized(medium) })
    assert.equal(await backend.space(), {
      totalBytes: 100 * mebibyte,
      freeBytes: 49 * mebibyte,
    })
    medium.totalBytes = 1024 * gibibyte
    medium.freeBytes = 3 * gibibyte
    assert.is((await backend.space()).freeBytes, 2 * gibibyte)
    medium.freeBytes = mebibyte
    assert.is((await backend.space()).freeBytes, 0)
    await backend.close()
  }),
)

space('what does not fit is refused before the first byte, with both numbers', () =>
  withFolder(async (root) => {
    const medium = { totalBytes: 100 * mebibyte, freeBytes: 50 * mebibyte }
    const backend = await LocalBackend.open({ root, disk: sized(medium) })
    const bytes = source(50)
    const size = 49 * mebibyte + 1
    const error = await refusal(backend.put('a/backing', bytes, { size }))
    assert.match(error.message, String(size))
    assert.match(error.message, String(49 * mebibyte))
    assert.is(bytes.pulls, 0)
    assert.equal(await readdir(root), ['.tmp'])
    await backend.put('a/backing', source(49), { size: 49 * mebibyte })
    await backend.close()
  }),
)

space('room that a running put has claimed is not given to another', () =>
  withFolder(async (root) => {
    const medium = { totalBytes: 100 * mebibyte, freeBytes: 50 * mebibyte }
    const backend = await LocalBackend.open({ root, disk: sized(medium), lowWaterBytes: 0 })
    const gate = new Gate()
    const first = backend.put(
      'a/backing',
      source(10, () => gate.opened),
      { size: 40 * mebibyte },
    )
    const racing = backend.put('b/backing', source(30), { size: 30 * mebibyte })
    await refusal(racing)
    // Ten MiB have come: only 30 are still to come.
    while ((await backend.space()).freeBytes !== 20 * mebibyte) {
      await new Promise((go) => setImmediate(go))
    }
    gate.open()
    await first
    assert.is((await backend.space()).freeBytes, 50 * mebibyte, 'a claim outlives its put')
    const error = new Error('no end')
    const failing = source(2, () => Promise.reject(error))
    const failed = backend.put('c', failing, { size: 40 * mebibyte })
    assert.is(await failed.catch((thrown: unknown) => thrown), error)
    assert.is((await backend.space()).freeBytes, 50 * mebibyte, 'a claim outlives its failure')
    await backend.close()
  }),
)

space('a put of unknown size stops when the mark is reached', () =>
  withFolder(async (root) => {
    const medium = { totalBytes: gibibyte, freeBytes: 200 * mebibyte }
    const backend = await LocalBackend.open({ root, disk: sized(medium), lowWaterBytes: 0 })
    const bytes = source(1_000)
    const put = backend.put('a/backing', bytes)
    while (bytes.pulls < 10) await new Promise((go) => setImmediate(go))
    medium.freeBytes = 0
    await refusal(put)
    assert.ok(bytes.pulls <= 64 + 64 + 1, `${bytes.pulls} MiB were read`)
    assert.equal(await temporaries(root), [])
    await backend.close()
  }),
)

space('records and marks pass below the mark', () =>
  withFolder(async (root) => {
    const medium = { totalBytes: gibibyte, freeBytes: 4096 }
    const backend = await LocalBackend.open({ root, disk: sized(medium) })
    await backend.put('.marks/ab-0123abcd/m.json', bytesOf('{}'), { ifAbsent: true, size: 2 })
    await backend.put('one', source(1), { size: mebibyte })
    await refusal(backend.put('more', source(2)))
    await refusal(backend.put('more', source(2), { size: 2 * mebibyte }))
    await backend.close()
  }),
)

space('on a full medium the ballast gives a small put and a delete a second try', () =>
  withFolder(async (root) => {
    const medium = { totalBytes: gibibyte, freeBytes: gibibyte }
    const faulty = new FaultyDisk(sized(medium))
    const backend = await LocalBackend.open({ root, disk: faulty.disk })
    const ballast = join(root, '.tmp', 'ballast')
    assert.ok(statSync(ballast).blocks * 512 >= 256 * 1024, 'the ballast is no hole')
    const isThere = async (): Promise<boolean> =>
      (await readdir(join(root, '.tmp'))).includes('ballast')
    await backend.put('old', bytesOf('old'))
    const failing = (verb: string) => {
      medium.freeBytes = 0
      let isFull = true
      faulty.failWhen((call) => {
        // Removing the ballast makes room.
        if (call.verb === 'unlink' && call.path === ballast) isFull = false
        return isFull && call.verb === verb ? 'ENOSPC' : undefined
      })
    }
    for (const verb of ['write', 'datasync', 'close', 'open', 'link', 'mkdir']) {
      failing(verb)
      const key = `new-${verb}/file`
      await backend.put(key, bytesOf(verb), { ifAbsent: true })
      assert.not.ok(await isThere(), verb)
      assert.equal(await temporaries(root), [], verb)
      assert.is((await backend.stat(key)).size, verb.length)
      // With room again the next put makes it anew.
      medium.freeBytes = gibibyte
      faulty.failWhen()
      await backend.put('next', bytesOf('next'))
      assert.ok(await isThere(), `${verb}: made again`)
    }
    failing('unlink')
    await backend.delete('old')
    assert.not.ok(await isThere())
    // Without ballast a full medium is one.
    faulty.failWhen((call) => (call.verb === 'write' ? 'ENOSPC' : undefined))
    await refusal(backend.put('last', bytesOf('last')))
    faulty.failWhen()
    assert.equal(await temporaries(root), [])
    assert.equal(await openFiles(root), [])
    await backend.close()
  }),
)

space.run()
