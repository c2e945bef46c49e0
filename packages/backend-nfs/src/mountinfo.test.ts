// Lines of mountinfo as kernels write them.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { exportOf, isNfs, mountOf, parseMounts, parseOptions, versionOf } from './mountinfo.ts'

const mountinfo = suite('mountinfo')

const text = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:30 / /mnt/nfs rw,noatime shared:5 master:2 - nfs4 nas:/export/images rw,vers=4.2,hard,acregmax=1
31 30 0:31 / /mnt/nfs/deep\\040er rw - nfs nas:/export/v\\134ia rw,vers=3,soft
32 22 0:32 /sub/store /store ro - nfs4 [2001:db8::1]:/ rw,vers=4,minorversion=1
33 22 0:33 / /mnt/over rw - nfs4 nas:/hidden rw
34 33 0:34 / /mnt/over rw - tmpfs none rw
a line that is none
`
const mounts = parseMounts(text)

mountinfo('a path is on the mount with the longest point, and of two on the last', () => {
  const on = (path: string): string | undefined => mountOf(mounts, path)?.type
  assert.is(on('/mnt/nfs'), 'nfs4')
  assert.is(on('/mnt/nfs/a/b'), 'nfs4')
  assert.is(on('/mnt/nfs/deep er/x'), 'nfs')
  assert.is(on('/mnt/nfs/deep'), 'nfs4')
  assert.is(on('/mnt/nfsx'), 'ext4', 'a name that only begins like it')
  assert.is(on('/mnt/over/x'), 'tmpfs', 'what is hidden by another mount')
  assert.is(mountOf([], '/'), undefined)
})

mountinfo('an export is named with what of it is bound', () => {
  const names = mounts.filter(isNfs).map(exportOf)
  assert.equal(names, [
    'nas:/export/images',
    'nas:/export/v\\ia',
    '[2001:db8::1]:/sub/store',
    'nas:/hidden',
  ])
})

mountinfo('options of the mount and of its file system are both seen', () => {
  const [, nfs, , bound] = mounts
  assert.is(nfs?.options.get('acregmax'), '1')
  assert.ok(nfs?.options.has('noatime'))
  assert.ok(bound?.options.has('ro'))
  assert.equal(mounts.filter(isNfs).map(versionOf), ['4.2', '3', '4.1', ''])
  assert.equal(
    [...parseOptions('a=1,b,,c=d=e')],
    [
      ['a', '1'],
      ['b', ''],
      ['c', 'd=e'],
    ],
  )
})

mountinfo.run()
