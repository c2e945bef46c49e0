// Locks in a target: who is first, how long one lasts, and what of it stays.

import { readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { locksFolder } from './layout.ts'
import { Lock, type LockOptions } from './lock.ts'
import { type Target, openTarget } from './target.ts'
import { type Place, settleMs, withPlace } from './testing/place.ts'

const locking = suite('lock')

interface Rig {
  place: Place
  target: Target
  acquire(options?: LockOptions): Promise<Lock>
}

async function withTarget(test: (rig: Rig) => Promise<void>): Promise<void> {
  await withPlace(async (place) => {
    const target = await openTarget(place.url, {})
    const acquire = (options: LockOptions = {}): Promise<Lock> =>
      Lock.acquire(target, { settleMs, ...options })
    try {
      await test({ place, target, acquire })
    } finally {
      await target.close()
    }
  })
}

async function isRefused(work: Promise<unknown>): Promise<boolean> {
  try {
    await work
  } catch (error) {
    if (isImageError(error, 'aborted')) return true
    throw error
  }
  return false
}

locking('a lock is where and as others expect it, is renewed, and leaves nothing', () =>
  withTarget(async ({ place, acquire }) => {
    const lock = await acquire({ refreshMs: 20 })
    const [file = ''] = await place.locks()
    assert.match(file, /^lock-[0-9a-f]{16}\.lck$/)
    assert.is(locksFolder, 'backupstore/volumes/22/fc/BACKINGIMAGE/locks')
    const path = join(place.root, locksFolder, file)
    const content = JSON.parse(await readFile(path, 'utf8')) as unknown
    assert.equal(content, { Name: file.slice(0, -4), Type: 1, Acquired: true })
    await utimes(path, 1, 1)
    for (let round = 0; (await stat(path)).mtimeMs === 1000; round += 1) {
      if (round > 200) throw new Error('It is not renewed.')
      await pause(5)
    }
    await lock.release()
    await pause(50)
    assert.equal(await place.files(), [])
  }),
)

locking('several back up and restore at a time, and know of each other', () =>
  withTarget(async ({ place, acquire }) => {
    const one = await acquire()
    assert.ok(await one.isAlone())
    const two = await acquire()
    assert.not.ok(await one.isAlone())
    await two.release()
    assert.ok(await one.isAlone())
    // What is over counts for nothing.
    await place.lock(1, 151_000)
    assert.ok(await one.isAlone())
    await one.release()
  }),
)

locking('a deletion is before us when it is acquired or older, as long as it lives', () =>
  withTarget(async ({ place, acquire }) => {
    const cases: [ageMs: number, isAcquired: boolean, isFirst: boolean][] = [
      [10_000, true, true],
      [10_000, false, true],
      [149_000, true, true],
      [151_000, true, false],
      [-60_000, true, true],
      [-60_000, false, false],
    ]
    for (const [ageMs, isAcquired, isFirst] of cases) {
      const path = join(place.root, await place.lock(2, ageMs, isAcquired))
      let lock: Lock | undefined
      const work = acquire().then((acquired) => (lock = acquired))
      assert.is(await isRefused(work), isFirst, `${ageMs} ${isAcquired}`)
      await lock?.release()
      assert.is((await place.locks()).length, 1)
      await rm(path)
    }
  }),
)

locking('a file that is no lock is in nobody’s way', () =>
  withTarget(async ({ place, acquire }) => {
    const path = join(place.root, await place.lock(2, 0))
    await writeFile(path, '{"Name"')
    await place.write(`${locksFolder}/lock-1.lck.tmp.123`, '{}')
    await (await acquire()).release()
    assert.is((await place.locks()).length, 2)
  }),
)

/** Others make folders there meanwhile. */
async function untilDone(work: () => Promise<void>): Promise<void> {
  for (let round = 0; ; round += 1) {
    try {
      return await work()
    } catch (error) {
      if (round === 100) throw error
    }
  }
}

locking('a lock that can not be renewed is told to be lost', () =>
  withTarget(async ({ place, acquire }) => {
    const lock = await acquire({ refreshMs: 20, lifeMs: 400 })
    await pause(600)
    lock.assertHeld()
    // Not even root writes into a folder that is none.
    const folder = join(place.root, 'backupstore/volumes')
    await untilDone(async () => {
      await rm(folder, { recursive: true, force: true })
      await writeFile(folder, '')
    })
    await pause(600)
    assert.throws(() => lock.assertHeld(), /lost the lock \S+\.lck: it could not be written/)
    await lock.release()
  }),
)

locking('whoever is told to stop does not wait, and gives it back', () =>
  withTarget(async ({ place, acquire }) => {
    const signal = AbortSignal.timeout(20)
    const error = await acquire({ settleMs: 60_000, signal }).catch((thrown: unknown) => thrown)
    assert.is(error, signal.reason)
    assert.equal(await place.files(), [])
  }),
)

locking.run()
