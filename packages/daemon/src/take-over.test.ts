// A fetch: the file of a data source becomes an image by its name alone, and nothing of the source stays,
// whatever became of it, unless the daemon itself was ended (contract §2.6).

import { readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Gate } from '@backing-image/backend-local/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type DiskRig,
  anyBytes,
  configOf,
  eventually,
  launchOf,
  pathOf,
  put,
  sha512,
  sourceOf,
  store,
  withDisk,
} from './testing/disk-rig.ts'

const fetches = suite('fetch')
const content = anyBytes(2 * 1024 * 1024)
const wrongChecksum = '0'.repeat(128)

/** A finished data source: the file and its config. */
async function source(rig: DiskRig): Promise<string> {
  const path = sourceOf(rig)
  await store(rig, content, { path })
  await rig.disk.forget(path)
  return path
}

async function sourceIsGone(rig: DiskRig): Promise<void> {
  await eventually('nothing of the source stays', async () =>
    (await rig.left()).every((path) => !path.startsWith('tmp/')),
  )
}

fetches(
  'takes over the very file, whose config is believed, and does not read it',
  withDisk(async (rig) => {
    const from = await source(rig)
    const config = await configOf(from)
    await writeFile(`${from}.cfg`, JSON.stringify({ ...config, currentChecksum: wrongChecksum }))
    const before = await stat(from, { bigint: true })
    const launch = launchOf(rig, { size: content.length })
    rig.faulty.failWhen()
    await rig.disk.fetch(launch, from)
    const info = await rig.until(launch.path, 'ready')
    const reads = rig.faulty.calls.filter(({ verb, path }) => verb === 'read' && path === from)
    assert.is(reads.length <= 2, true)
    assert.is(info.currentChecksum, wrongChecksum)
    assert.is(info.modificationTime, config['modificationTime'])
    const after = await stat(launch.path, { bigint: true })
    assert.equal([after.ino, after.mtimeNs], [before.ino, before.mtimeNs])
    assert.is((await configOf(launch.path))['name'], launch.path)
    await sourceIsGone(rig)
    assert.is((await rig.left()).length, 2)
  }),
)

fetches(
  'reads a file whose config is missing or of another time',
  withDisk(async (rig) => {
    for (const change of ['missing', 'old']) {
      const from = await source(rig)
      if (change === 'old') await utimes(from, 5, 5)
      else await writeFile(`${from}.cfg`, '')
      await rig.disk.fetch(launchOf(rig, { expectedChecksum: sha512(content) }), from)
      const info = await rig.until(pathOf(rig), 'ready')
      assert.equal([info.currentChecksum, info.size], [sha512(content), content.length])
      await sourceIsGone(rig)
      await rig.disk.remove(pathOf(rig))
    }
  }),
)

const wrong: [string, Partial<Parameters<typeof launchOf>[1]> & object, RegExp][] = [
  ['size', { size: 512 }, /processed data size 2097152 does not match the expected file size 512$/],
  ['checksum', { expectedChecksum: wrongChecksum }, /the expected checksum 0+ doesn't match/],
]
for (const [what, change, words] of wrong) {
  fetches(
    `of another ${what} than expected fails, and nothing stays`,
    withDisk(async (rig) => {
      const from = await source(rig)
      await rig.disk.fetch(launchOf(rig, change), from)
      assert.match((await rig.until(pathOf(rig), 'failed')).message, words)
      await sourceIsGone(rig)
      assert.equal(await rig.left(), [])
    }),
  )
}

fetches(
  'of what is not there, or no file, fails',
  withDisk(async (rig) => {
    await rig.disk.fetch(launchOf(rig), sourceOf(rig))
    assert.match((await rig.until(pathOf(rig), 'failed')).message, /ENOENT/)
    await rig.disk.forget(pathOf(rig))
    await put(join(sourceOf(rig), 'inside'), 'x')
    await rig.disk.fetch(launchOf(rig), sourceOf(rig))
    assert.match((await rig.until(pathOf(rig), 'failed')).message, /should not be dir/)
    assert.is(await readFile(join(sourceOf(rig), 'inside'), 'utf8'), 'x')
  }),
)

fetches(
  'of a file that is there already only removes the source',
  withDisk(async (rig) => {
    await put(pathOf(rig), content)
    const from = await source(rig)
    const before = await stat(pathOf(rig), { bigint: true })
    await rig.disk.fetch(launchOf(rig, { expectedChecksum: sha512(content) }), from)
    await rig.until(pathOf(rig), 'ready')
    await sourceIsGone(rig)
    assert.is((await stat(pathOf(rig), { bigint: true })).ino, before.ino)
  }),
)

fetches(
  'of what is changed meanwhile fails',
  withDisk(async (rig) => {
    const from = await source(rig)
    rig.faulty.failWhen(({ verb, path }) => {
      // As soon as its config is written, and before it gets its name.
      if (verb === 'rename' && path.endsWith('.cfg')) void utimes(from, 9, 9)
      return undefined
    })
    await rig.disk.fetch(launchOf(rig), from)
    assert.match(
      (await rig.until(pathOf(rig), 'failed')).message,
      /modified while it was taken over/,
    )
  }),
)

fetches(
  'that ends with the daemon leaves the source to the next',
  withDisk(async (rig) => {
    const from = await source(rig)
    await writeFile(`${from}.cfg`, '')
    const gate = new Gate()
    const { disk } = rig.disk.place
    const open = disk.open.bind(disk)
    disk.open = async (path, ...more) => {
      if (path === `${from}.cfg`) await gate.opened
      return await open(path, ...more)
    }
    await rig.disk.fetch(launchOf(rig), from)
    await rig.until(pathOf(rig), 'in-progress')
    const closed = rig.disk.close()
    gate.open()
    await closed
    await new Promise((done) => setTimeout(done, 50))
    assert.ok((await readFile(from)).equals(content))
    assert.not.ok((await rig.left()).some((path) => path.endsWith('/backing')))
  }),
)

fetches(
  'syncs the bytes before the name, and the name before the source is gone',
  withDisk(async (rig) => {
    const from = await source(rig)
    rig.faulty.failWhen()
    await rig.disk.fetch(launchOf(rig), from)
    await rig.until(pathOf(rig), 'ready')
    await sourceIsGone(rig)
    const { calls } = rig.faulty
    const at = (verb: string, path: string): number =>
      calls.findIndex((call) => call.verb === verb && call.path === path)
    const folder = join(pathOf(rig), '..')
    const order = [
      at('sync', from),
      at('rename', `${pathOf(rig)}.cfg`),
      at('rename', pathOf(rig)),
      calls.findLastIndex(({ verb, path }) => verb === 'sync' && path === folder),
      at('unlink', `${from}.cfg`),
    ]
    assert.ok(order.every((each) => each >= 0))
    assert.equal(
      order,
      order.toSorted((one, other) => one - other),
    )
  }),
)

fetches.run()
