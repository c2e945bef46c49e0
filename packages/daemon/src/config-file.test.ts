// What is written beside a file, to the byte, and when it is believed: a file whose config tells its
// modification time is never read again, and any other always is.

import { mkdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { formatConfig, readConfig } from './config-file.ts'
import { emptyInfo } from './image-files.ts'
import {
  type DiskRig,
  anyBytes,
  configOf,
  launchOf,
  pathOf,
  put,
  sha512,
  store,
  withDisk,
} from './testing/disk-rig.ts'

const configs = suite('configs')
const wrongChecksum = '0'.repeat(128)
const content = anyBytes(2048)

configs('have the keys of Longhorn in its order and no blanks', () => {
  const info = {
    ...emptyInfo({
      path: '/data/tmp/a-1',
      uuid: '1',
      diskUuid: 'd',
      expectedChecksum: 'ee',
      size: 1024,
      dataEngine: '',
    }),
    virtualSize: 2048,
    realSize: 4096,
    currentChecksum: 'cc',
    modificationTime: '2026-08-01 09:05:07.12 +0000 UTC',
  }
  assert.is(
    formatConfig(info),
    '{"name":"/data/tmp/a-1","uuid":"1","size":1024,"virtualSize":2048,"realSize":4096,' +
      '"expectedChecksum":"ee","currentChecksum":"cc",' +
      '"modificationTime":"2026-08-01 09:05:07.12 +0000 UTC"}',
  )
})

const seconds = 1_785_575_107
const times: [string, number, RegExp][] = [
  ['a whole second', seconds, /^2026-08-01 09:05:07 \+0000 UTC$/],
  ['a part of one', seconds + 0.125, /^2026-08-01 09:05:07\.125 \+0000 UTC$/],
]
for (const [what, time, form] of times) {
  configs(
    `a modification time of ${what} is written as Go writes it, and is believed`,
    withDisk(async (rig) => {
      const path = pathOf(rig)
      await put(path, content)
      await utimes(path, time, time)
      await adopted(rig)
      const config = await configOf(path)
      assert.match(String(config['modificationTime']), form)
      assert.is((await adoptedWith(rig, wrongChecksum)).currentChecksum, wrongChecksum)
    }),
  )
}

/** What is told of the file when it is taken as it lies there. */
async function adopted(rig: DiskRig): Promise<Awaited<ReturnType<DiskRig['until']>>> {
  const path = pathOf(rig)
  await rig.disk.forget(path)
  await rig.disk.fetch(launchOf(rig), path)
  return await rig.until(path, 'ready')
}

/** The same after its config was changed to tell that checksum. */
async function adoptedWith(rig: DiskRig, currentChecksum: string): ReturnType<typeof adopted> {
  const path = pathOf(rig)
  await writeFile(`${path}.cfg`, JSON.stringify({ ...(await configOf(path)), currentChecksum }))
  return await adopted(rig)
}

configs(
  'tell what is told of a ready file, field by field, with all nanoseconds of it',
  withDisk(async (rig) => {
    await store(rig, content, { expectedChecksum: sha512(content) })
    const info = await rig.until(pathOf(rig), 'ready')
    const { filePath, uuid, size, virtualSize, realSize, expectedChecksum } = info
    const { currentChecksum, modificationTime } = info
    const config = await configOf(pathOf(rig))
    assert.equal(config, {
      name: filePath,
      uuid,
      size,
      virtualSize,
      realSize,
      expectedChecksum,
      currentChecksum,
      modificationTime,
    })
    assert.is(await readFile(`${pathOf(rig)}.cfg`, 'utf8'), JSON.stringify(config))
    const { mtimeNs, blocks } = await stat(pathOf(rig), { bigint: true })
    const fraction = String(mtimeNs % 1_000_000_000n)
      .padStart(9, '0')
      .replace(/0+$/, '')
    assert.ok(modificationTime.includes(fraction === '' ? ' +0000' : `.${fraction} +0000 UTC`))
    assert.is(realSize, Number(blocks) * 512)
  }),
)

configs(
  'the one of Longhorn is believed as it is, with what else may be in it',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, content)
    await utimes(path, seconds, seconds)
    const text =
      `{"name":"${path}","uuid":"x","size":1,"virtualSize":1,"realSize":1,"expectedChecksum":"",` +
      `"currentChecksum":"${wrongChecksum}","modificationTime":"2026-08-01 09:05:07 +0000 UTC","more":[]}\n`
    await writeFile(`${path}.cfg`, text)
    const info = await adopted(rig)
    assert.is(info.currentChecksum, wrongChecksum)
    assert.equal([info.size, info.virtualSize, info.uuid], [2048, 2048, '0123abcd'])
  }),
)

configs(
  'of another modification time are not believed',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, content)
    await adopted(rig)
    await utimes(path, 5, 5)
    assert.is((await adoptedWith(rig, wrongChecksum)).currentChecksum, sha512(content))
    assert.is((await configOf(path))['modificationTime'], '1970-01-01 00:00:05 +0000 UTC')
  }),
)

const time = '2026-08-01 09:05:07 +0000 UTC'
const bad: [string, string | Buffer][] = [
  ['nothing', ''],
  ['no JSON', '{"modificationTime":'],
  ['null', 'null'],
  ['a list', '[]'],
  ['a text', JSON.stringify(time)],
  ['bytes', Buffer.from([0, 255, 254, 1, 2, 3])],
  ['no checksum', JSON.stringify({ modificationTime: time })],
  ['an empty checksum', JSON.stringify({ modificationTime: time, currentChecksum: '' })],
  ['a short checksum', JSON.stringify({ modificationTime: time, currentChecksum: 'ab' })],
  ['a number', JSON.stringify({ modificationTime: time, currentChecksum: 5 })],
  [
    'more than any config has',
    JSON.stringify({
      modificationTime: time,
      currentChecksum: wrongChecksum,
      x: 'x'.repeat(70_000),
    }),
  ],
]
for (const [what, text] of bad) {
  configs(
    `of ${what} are none: the file is read, and they are replaced`,
    withDisk(async (rig) => {
      const path = pathOf(rig)
      await put(path, content)
      await utimes(path, seconds, seconds)
      await writeFile(`${path}.cfg`, text)
      assert.is((await adopted(rig)).currentChecksum, sha512(content))
      assert.is((await configOf(path))['currentChecksum'], sha512(content))
    }),
  )
}

configs(
  'that can not be read are none, and one that can not be written is no failure',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, content)
    const { place } = rig.disk
    await symlink('/etc/hostname', `${path}.cfg`)
    assert.is(await readConfig(place.disk, path), undefined)
    await rm(`${path}.cfg`)
    await put(`${path}.cfg`, '{}')
    rig.faulty.failWhen(({ verb, path: at }) =>
      verb === 'read' && at.endsWith('.cfg') ? 'EIO' : undefined,
    )
    assert.is(await readConfig(place.disk, path), undefined)
    assert.is((await adopted(rig)).currentChecksum, sha512(content))
    await rm(`${path}.cfg`)
    await mkdir(`${path}.cfg/folder`, { recursive: true })
    rig.faulty.failWhen()
    assert.is((await adopted(rig)).currentChecksum, sha512(content))
    assert.ok(rig.log.all.some((line) => line.startsWith('no config was written')))
    await rm(`${path}.cfg`, { recursive: true })
  }),
)

configs.run()
