// Images that appear in Longhorn, and those that come from there: the real server over a disk and a bucket of
// Ceph, and a stand-in for Longhorn that is as demanding, with a downloader that really fetches.
//
//   node scripts/test.js e2e/longhorn.test.js

import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { FolderPlace } from './durability/place.js'
import { essentials, testLonghorn, troubles } from './longhorn/cases.js'
import { many } from './longhorn/many.js'
import { freshFolder } from './machine.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)

const ceph = freePorts(5).then((port) => startCeph({ port, folder: join(folder, 'ceph') }))
ceph.catch(() => {})

const onDisk = { ...many, ...essentials, ...troubles }
testLonghorn(
  'Longhorn over a disk',
  (number) => new FolderPlace(join(folder, `disk-${number}`)),
  onDisk,
)

const inBucket = async (number) => await new BucketPlace(await ceph, `longhorn-${number}`).make()
testLonghorn('Longhorn over Ceph', inBucket, essentials)
