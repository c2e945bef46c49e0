// A disk that is full or broken at any step: the file ends as failed and says why, nothing is half ready, what
// was there before is still there, and the same works when the disk does again.

import { readFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type DiskRig,
  anyBytes,
  failureOf,
  launchOf,
  pathOf,
  piecesOf,
  put,
  sha512,
  sourceOf,
  store,
  withDisk,
} from './testing/disk-rig.ts'

const faults = suite('faults of the disk')
const content = anyBytes(96 * 1024)
const before = anyBytes(1024)

type Calls = DiskRig['faulty']['calls']
const isData = (path: string): boolean => path.endsWith('backing.tmp')
const isConfig = (path: string): boolean => path.endsWith('.cfg.tmp')

const steps: [string, (call: Calls[number]) => boolean][] = [
  ['create', ({ verb, path }) => verb === 'open' && isData(path)],
  ['write', ({ verb, path }) => verb === 'write' && isData(path)],
  ['sync', ({ verb, path }) => verb === 'datasync' && isData(path)],
  ['look at', ({ verb, path }) => verb === 'stat' && isData(path)],
  ['close', ({ verb, path }) => verb === 'close' && isData(path)],
  ['rename', ({ verb, path }) => verb === 'rename' && path.endsWith('/backing')],
  ['create the config of', ({ verb, path }) => verb === 'open' && isConfig(path)],
  ['write the config of', ({ verb, path }) => verb === 'write' && isConfig(path)],
  ['sync the config of', ({ verb, path }) => verb === 'datasync' && isConfig(path)],
  ['rename the config of', ({ verb, path }) => verb === 'rename' && path.endsWith('.cfg')],
]
for (const code of ['ENOSPC', 'EIO']) {
  for (const [what, isStep] of steps) {
    for (const isThere of [false, true]) {
      faults(
        `${code} when it is to ${what} a file${isThere ? ' that replaces another' : ''}`,
        withDisk(async (rig) => {
          const path = pathOf(rig)
          if (isThere) await put(path, before)
          rig.faulty.failWhen((call) => (isStep(call) ? code : undefined))
          const launch = launchOf(rig, { size: content.length })
          const error = await failureOf(rig.disk.upload(launch, async () => piecesOf(content)))
          const info = await rig.disk.get(path)
          assert.is(info.state, 'failed')
          assert.is(info.message, `failed to process sync file: ${error.message}`)
          assert.match(info.message, code)
          assert.is(info.currentChecksum, '')
          rig.faulty.failWhen()
          const left = (await rig.left()).filter((each) => !each.endsWith('/backing'))
          assert.equal(left, [])
          if (isThere) assert.ok((await readFile(path)).equals(before))
          else assert.equal(await rig.left(), [])
          await rig.disk.remove(path)
          assert.equal(await rig.left(), [])
          await store(rig, content)
          assert.is((await rig.disk.get(path)).currentChecksum, sha512(content))
        }),
      )
    }
  }
}

faults(
  'at every single call of an upload: failed or ready, never half, and removable',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const small = content.subarray(0, 4096)
    rig.faulty.failWhen()
    await store(rig, small)
    const count = rig.faulty.calls.length
    await rig.disk.remove(path)
    for (let at = 0; at < count; at += 1) {
      rig.faulty.failAt(at, 'EIO')
      await store(rig, small).catch(() => {})
      rig.faulty.failWhen()
      const info = await rig.disk.get(path)
      assert.ok(['failed', 'ready'].includes(info.state), `${at}: ${info.state}`)
      const left = await rig.left()
      if (info.state === 'ready') {
        assert.ok((await readFile(path)).equals(small))
        assert.is(left.length, 2)
      } else {
        assert.match(info.message, /^failed to process sync file: ./)
        const isWhole = left.some((each) => each.endsWith('/backing'))
        if (isWhole) assert.ok((await readFile(path)).equals(small))
      }
      await rig.disk.remove(path)
      assert.equal(await rig.left(), [], `call ${at}`)
    }
  }),
)

faults(
  'at every single call of a fetch: the bytes are at the one place or the other, or were given up',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const source = sourceOf(rig)
    const small = content.subarray(0, 4096)
    const run = async (): Promise<string> => {
      await put(source, small)
      await rig.disk.fetch(launchOf(rig, { size: small.length }), source)
      return (await rig.until(path, 'ready', 'failed')).state
    }
    rig.faulty.failWhen()
    assert.is(await run(), 'ready')
    const count = rig.faulty.calls.length
    await rig.disk.remove(path)
    for (let at = 0; at < count; at += 1) {
      rig.faulty.failAt(at, 'EIO')
      const state = await run().catch(() => 'failed')
      rig.faulty.failWhen()
      if (state === 'ready') assert.ok((await readFile(path)).equals(small))
      await rig.disk.remove(path)
      const left = (await rig.left()).filter((each) => !each.startsWith('tmp/'))
      assert.equal(left, [], `call ${at}`)
    }
  }),
)

faults(
  'while a file is looked at that is there: failed with the reason, and the file stays',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, before)
    rig.faulty.failWhen(({ verb, path: at }) =>
      verb === 'read' && at === path ? 'EIO' : undefined,
    )
    await rig.disk.fetch(launchOf(rig), path)
    const info = await rig.until(path, 'failed')
    assert.match(info.message, /EIO/)
    rig.faulty.failWhen()
    assert.ok((await readFile(path)).equals(before))
  }),
)

faults(
  'while a file is removed: told, and the rest of it is gone',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await store(rig, before)
    rig.faulty.failWhen(({ verb, path: at }) =>
      verb === 'unlink' && at.endsWith('.cfg') ? 'EIO' : undefined,
    )
    assert.match((await failureOf(rig.disk.remove(path))).message, /EIO/)
    assert.equal(await rig.left(), [`${path.slice(rig.root.length + 1)}.cfg`])
  }),
)

faults.run()
