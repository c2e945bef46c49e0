// Bytes that go bad on a disk and in a bucket of Ceph: they are found, given to nobody, and come back
// from where they once came.
//
//   node scripts/test.js e2e/scrub.test.js

import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { FolderPlace } from './durability/place.js'
import { freshFolder } from './machine.js'
import { testScrubs } from './scrub/cases.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)

testScrubs('scrubs of a disk', {
  open: async () => async (name) => new FolderPlace(join(folder, 'disk', name)),
  openPeer: async (name) => new FolderPlace(join(folder, 'disk-peer', name)),
})

let store
testScrubs('scrubs of Ceph', {
  async open() {
    store = await startCeph({ port: await freePorts(5), folder: join(folder, 'ceph') })
    return async (name) => await new BucketPlace(store, `scrub-${name}`).make()
  },
  openPeer: async (name) => new FolderPlace(join(folder, 'ceph-peer', name)),
  close: () => store?.stop(),
})
