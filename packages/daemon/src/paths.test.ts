// Which paths may be asked for, and that none leads off the disk, however it is written or linked.

import { mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { withFolder } from '@backing-image/backend-local/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { assertFilePath, imageFolder, imagePath, nameOf, sourcePath } from './paths.ts'
import {
  type DiskRig,
  anyBytes,
  failureOf,
  imageName,
  imageUuid,
  launchOf,
  pathOf,
  put,
  sourceOf,
  store,
  withDisk,
} from './testing/disk-rig.ts'

const paths = suite('paths')

paths('are those of Longhorn', () => {
  assert.is(imagePath('/data/', 'a-b', '0123'), '/data/backing-images/a-b-0123/backing')
  assert.is(imageFolder('/data', 'a', '0123'), '/data/backing-images/a-0123')
  assert.is(sourcePath('/data/', 'a', '0123'), '/data/tmp/a-0123')
  assert.is(nameOf('/data/backing-images/ubuntu-22.04-0123/backing', '0123'), 'ubuntu-22.04')
  assert.is(nameOf('/data/backing-images/ubuntu/backing', '0123'), 'ubuntu')
})

for (const part of ['', '.', '..', '../x', 'a/b', '/', 'a\0', '.hidden', 'x'.repeat(201)]) {
  paths(`a name or uuid ${JSON.stringify(part.slice(0, 12))} leads nowhere`, () => {
    assert.throws(() => imagePath('/data', part, '0123'), /is no part of a path/)
    assert.throws(() => imagePath('/data', 'a', part), /is no part of a path/)
    assert.throws(() => sourcePath('/data', part, '0123'), /is no part of a path/)
  })
}

paths('a name and a uuid fit into one name of a file system together', () => {
  assert.throws(() => imagePath('/data', 'a'.repeat(120), 'b'.repeat(120)), /is no part/)
  assert.ok(imagePath('/data', 'a'.repeat(180), '01234567'))
})

const off = [
  '',
  'backing-images/a',
  '/',
  '/data',
  '/data/',
  '/etc/passwd',
  '/database/a',
  '/data/../etc/passwd',
  '/data/backing-images/../../etc/passwd',
  '/data/replicas/pvc-1/volume-head-000.img',
  '/data/x/../replicas/a',
  '/data/longhorn-disk.cfg',
  '/data/longhorn-disk',
  '/data/backing-images/.catalog/debian/1.json',
  '/data/tmp/.hidden/a',
  '/data/.jobs/a',
  '/data/.tmp/owner/a',
  '/data/a.tmp',
  '/data/a.cfg',
  '/data/tmp/blocks',
  '/data/backing-images/a-0/blocks',
  '/data/a\0b',
]
for (const path of off) {
  paths(`${JSON.stringify(path)} is refused`, () => {
    assert.throws(() => assertFilePath('/data/', path), /can not be one of this disk/)
  })
}

paths('others are kept as one that leads there directly', () => {
  assert.is(assertFilePath('/data/', '/data//tmp/./a/../b'), '/data/tmp/b')
  assert.is(
    assertFilePath('/data', '/data/backing-images/a-0/backing'),
    '/data/backing-images/a-0/backing',
  )
  assert.is(assertFilePath('/data', '/data/replicas-of-mine/a'), '/data/replicas-of-mine/a')
  assert.throws(() => assertFilePath('/', '/replicas/a'), /can not be one of this disk/)
  assert.is(assertFilePath('/', '/tmp/a'), '/tmp/a')
})

paths(
  'off the disk nothing is fetched, neither to nor from',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const outside = '/etc/hostname'
    const query = (source: string, target: string): string =>
      `/v1/files?action=fetch&src-file-path=${encodeURIComponent(source)}` +
      `&dst-file-path=${encodeURIComponent(target)}&uuid=u&disk-uuid=d&size=512`
    for (const [from, to] of [
      [outside, path],
      [path, outside],
      [join(rig.root, 'replicas/a'), path],
      [`${rig.root}/tmp/../../x`, path],
    ] as const) {
      const answer = await rig.ask('POST', query(from, to))
      assert.is(answer.status, 500)
      assert.match(answer.text, /can not be one of this disk/)
    }
    assert.equal(await rig.disk.list(), [])
  }),
)

/** A folder elsewhere with somebody's files, and a link to it in the place of the image's folder. */
function withLink(claim: (rig: DiskRig, elsewhere: string) => Promise<void>): () => Promise<void> {
  return withDisk(async (rig) => {
    await withFolder(async (elsewhere) => {
      for (const name of ['backing', 'backing.tmp', 'backing.cfg', 'blocks']) {
        await writeFile(join(elsewhere, name), 'theirs')
      }
      await mkdir(join(rig.root, 'backing-images'), { recursive: true })
      await symlink(elsewhere, join(rig.root, 'backing-images', `${imageName}-${imageUuid}`))
      await claim(rig, elsewhere)
      for (const name of await readdir(elsewhere)) {
        assert.is(await readFile(join(elsewhere, name), 'utf8'), 'theirs', name)
      }
      assert.is((await readdir(elsewhere)).length, 4)
    })
  })
}

paths(
  'a folder that is a link elsewhere is neither written nor read nor emptied',
  withLink(async (rig) => {
    const error = await failureOf(store(rig, anyBytes(512)))
    assert.match(error.message, /invalid state failed/)
    const info = await rig.until(pathOf(rig), 'failed')
    assert.match(info.message, /is a symbolic link/)
    const download = await rig.ask('GET', `/v1/files/${encodeURIComponent(pathOf(rig))}/download`)
    assert.is(download.status, 500)
    assert.match((await failureOf(rig.disk.remove(pathOf(rig)))).message, /is a symbolic link/)
    await rig.disk.remove(pathOf(rig))
  }),
)

paths(
  'nothing is taken over through a link',
  withLink(async (rig) => {
    const path = join(rig.root, 'backing-images', 'other-1', 'backing')
    await rig.disk.fetch(launchOf(rig, { path, size: 0 }), pathOf(rig))
    const info = await rig.until(path, 'failed')
    assert.match(info.message, /is a symbolic link/)
  }),
)

paths(
  'a link in the place of a file is replaced and removed, and what it names stays',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const theirs = join(rig.root, 'theirs')
    await put(theirs, 'theirs')
    await put(join(path, '..', 'x'), '')
    for (const each of [path, `${path}.tmp`, `${path}.cfg`]) await symlink(theirs, each)
    const content = anyBytes(1024)
    await store(rig, content)
    assert.ok((await readFile(path)).equals(content))
    await rig.disk.forget(path)
    assert.is(await readFile(theirs, 'utf8'), 'theirs')
    await rig.disk.remove(path)
  }),
)

paths(
  "a file of a gateway's folder is not taken, and stays when its record is removed",
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await put(path, 'theirs')
    await put(`${path}.cfg`, 'theirs')
    await put(join(path, '..', 'blocks'), '')
    const before = await rig.left()
    await rig.disk.fetch(launchOf(rig), path)
    assert.match((await rig.until(path, 'failed')).message, /is the gateway's/)
    await rig.disk.remove(path)
    assert.equal(await rig.left(), before)
    const target = join(rig.root, 'backing-images', 'other-1', 'backing')
    await rig.disk.fetch(launchOf(rig, { path: target }), path)
    assert.match((await rig.until(target, 'failed')).message, /is the gateway's/)
    await rig.disk.remove(target)
    assert.equal(await rig.left(), before)
  }),
)

for (const [what, length] of [
  ['a name', 300],
  ['a path', 5000],
] as const) {
  paths(
    `${what} of ${length} characters fails with a reason and can be removed`,
    withDisk(async (rig) => {
      const name = length > 4096 ? 'x/'.repeat(length / 2) : 'x'.repeat(length)
      const path = join(rig.root, 'tmp', name, 'backing')
      await rig.disk.fetch(launchOf(rig, { path }), sourceOf(rig))
      assert.match((await rig.until(path, 'failed')).message, /ENAMETOOLONG/)
      await rig.disk.remove(path).catch(() => {})
      assert.equal(await rig.disk.list(), [])
    }),
  )
}

paths.run()
