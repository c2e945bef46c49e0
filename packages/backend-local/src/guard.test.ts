// The guard: few calls at a time, patience with each, and an end of asking what does not answer.

import { constants } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { ImageError } from '@backing-image/core'
import { explained } from './disk.ts'
import { Guard } from './guard.ts'
import { guarded } from './guarded.ts'
import { eventually, failure, times, withGuard } from './testing/guarding.ts'
import { errnoError, hooked, withFolder } from './testing/index.ts'

const guarding = suite('local: guard')

const isOut = (guard: Guard) => () => guard.outage !== undefined
const isWell = (guard: Guard) => () => guard.outage === undefined

guarding(
  'so many calls are in the kernel at a time, and the others begin in their order',
  withGuard({ suspectAfterMs: 60_000 }, async ({ root, hanging, disk }) => {
    hanging.hang()
    const paths = Array.from({ length: 20 }, (_, index) => join(root, `${index}`))
    const looks = paths.map((path) => failure(disk.lstat(path)))
    await turn()
    assert.is(hanging.running, 4)
    hanging.release()
    for (const error of await Promise.all(looks)) assert.is(error.code, 'not_found')
    assert.is(hanging.runningMost, 4)
    assert.equal(
      hanging.calls.map((call) => call.path),
      paths,
    )
  }),
)

guarding(
  'bytes that hang leave room for who only looks',
  withGuard({ suspectAfterMs: 60_000 }, async ({ root, hanging, disk }) => {
    await writeFile(join(root, 'file'), 'x')
    const file = await disk.open(join(root, 'file'), constants.O_RDWR)
    hanging.hang(({ verb }) => verb === 'datasync')
    const syncs = Array.from({ length: 10 }, () => file.datasync())
    assert.is((await disk.lstat(join(root, 'file'))).size, 1n)
    assert.is(hanging.running, 3)
    hanging.release()
    await Promise.all(syncs)
    await file.close()
  }),
)

guarding(
  'a disk that hangs is told to all who wait and all who come, and is not asked by them',
  withGuard({}, async ({ root, hanging, guard, disk }) => {
    const before = Date.now()
    hanging.hang()
    const all = Array.from({ length: 30 }, () => failure(disk.lstat(root)))
    for (const { code, reason, message } of await Promise.all(all)) {
      assert.equal([code, reason], ['unavailable', 'storage_unavailable'])
      assert.match(message, `${root} has not answered since 20`)
    }
    const since = guard.outage?.since.getTime() ?? 0
    assert.ok(since >= before && since <= Date.now())
    assert.is(hanging.count('lstat'), 4)
    assert.is((await failure(disk.mkdir(join(root, 'x'), 0o755))).code, 'unavailable')
    assert.is(hanging.count('mkdir'), 0)
  }),
)

guarding(
  'when it answers again all is well, and each change is told once',
  withGuard({}, async ({ root, hanging, guard, disk }) => {
    const told: boolean[] = []
    const forget = guard.onChange(() => told.push(guard.outage !== undefined))
    assert.is(disk.returning, undefined)
    for (let round = 0; round < 3; round += 1) {
      hanging.hang()
      await failure(disk.lstat(root))
      let isOver = false
      const over = disk.returning?.then(() => (isOver = true))
      await pause(50)
      assert.not.ok(isOver)
      hanging.release()
      await over
      assert.ok((await disk.lstat(root)).isDirectory())
    }
    assert.equal(told, [true, false, true, false, true, false])
    forget()
    hanging.hang()
    await failure(disk.lstat(root))
    assert.is(told.length, 6)
  }),
)

guarding(
  'during an outage one probe at a time is under way, whatever is asked',
  withGuard({}, async ({ root, hanging, guard, disk }) => {
    hanging.hang()
    await failure(disk.lstat(root))
    for (let count = 0; count < 50; count += 1) {
      await failure(disk.lstat(root))
      await pause(2)
    }
    assert.is(hanging.count('statfs'), 1)
    assert.is(hanging.running, 2)
    hanging.release()
    await eventually('well', isWell(guard))
  }),
)

guarding(
  'a slow call is no outage where the disk answers; it is left when its time is over',
  withGuard({ readTimeoutMs: 150, writeTimeoutMs: 400 }, async ({ root, hanging, guard, disk }) => {
    await writeFile(join(root, 'file'), 'x')
    const file = await disk.open(join(root, 'file'), constants.O_RDWR)
    hanging.hang(({ verb, path }) => path.endsWith('file') && verb !== 'close')
    const ended: string[] = []
    const end = async (what: string, work: Promise<unknown>): Promise<ImageError> => {
      const error = await failure(work)
      ended.push(what)
      return error
    }
    const [sync, look] = await Promise.all([
      end('datasync', file.datasync()),
      end('lstat', disk.lstat(join(root, 'file'))),
    ])
    assert.equal(ended, ['lstat', 'datasync'])
    assert.match(look.message, `lstat ${root}/file was not done after 0.15 s`)
    assert.is(sync.code, 'unavailable')
    assert.is(guard.outage, undefined)
    assert.ok(hanging.count('statfs') > 0, 'it was not asked')
    assert.ok((await disk.lstat(root)).isDirectory())
    assert.is(guard.hasHungCalls(), true)
    hanging.release()
    await eventually('returned', () => !guard.hasHungCalls())
    await file.close()
  }),
)

guarding(
  'calls that were left in every slot are an outage, though the probe is answered',
  withGuard({ readTimeoutMs: 50 }, async ({ root, hanging, guard, disk }) => {
    hanging.hang(({ verb }) => verb === 'lstat')
    await Promise.all(Array.from({ length: 8 }, () => failure(disk.lstat(root))))
    await eventually('out', isOut(guard))
    await pause(60)
    assert.ok(guard.outage, 'there is no slot to go on with')
    hanging.release()
    await eventually('well', isWell(guard))
    assert.ok((await disk.lstat(root)).isDirectory())
  }),
)

guarding('what fails slowly, as a soft mount does, is an outage; what fails at once is not', () =>
  withFolder(async (root) => {
    let delayMs = 0
    const disk = explained(
      hooked(async () => {
        await pause(delayMs)
        throw errnoError('EIO')
      }),
    )
    const guard = new Guard(disk, root, times)
    const subject = guarded(disk, guard)
    for (let count = 0; count < 20; count += 1) await failure(subject.lstat(root))
    assert.is(guard.outage, undefined)
    delayMs = 50
    await eventually('out', async () => {
      await failure(subject.lstat(root))
      return guard.outage !== undefined
    })
    assert.match(guard.outage?.message ?? '', 'statfs')
    assert.match(guard.outage?.message ?? '', 'EIO')
    // An answer that is a failure does not end it.
    delayMs = 0
    await pause(100)
    assert.ok(guard.outage)
  }),
)

guarding(
  'a time in which this process did not run is none in which the disk did not answer',
  withGuard({}, async ({ root, hanging, guard, disk }) => {
    hanging.hang()
    const look = disk.lstat(root)
    await turn()
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
    hanging.release()
    assert.ok((await look).isDirectory())
    assert.is(guard.outage, undefined)
  }),
)

guarding(
  'ten thousand who wait are all told, and nothing is left of them',
  withGuard({}, async ({ root, hanging, guard, disk }) => {
    hanging.hang()
    const errors = await Promise.all(
      Array.from({ length: 10_000 }, () => failure(disk.lstat(root))),
    )
    assert.ok(errors.every((error) => error.code === 'unavailable'))
    assert.is(hanging.count('lstat'), 4)
    hanging.release()
    await eventually('well', isWell(guard))
    const looks = await Promise.all(Array.from({ length: 10_000 }, () => disk.lstat(root)))
    assert.is(looks.length, 10_000)
    assert.is(hanging.runningMost, 5, 'four, and a probe')
    await eventually('returned', () => !guard.hasHungCalls())
  }),
)

guarding(
  'there is an end to how many may wait',
  withGuard({ suspectAfterMs: 60_000 }, async ({ root, hanging, disk }) => {
    hanging.hang()
    const settled = Array.from({ length: 20_010 }, () =>
      disk.lstat(root).then(
        () => 'done',
        (error: ImageError) => error.message,
      ),
    )
    assert.match((await settled.at(-1)) ?? '', '20000 calls wait')
    hanging.release()
    const results = await Promise.all(settled)
    assert.is(results.filter((result) => result === 'done').length, 20_004)
  }),
)

guarding.run()
