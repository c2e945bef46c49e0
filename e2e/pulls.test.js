// Images that come from URLs while their servers are killed, stopped and replaced, on a disk and in a
// bucket of Ceph. For a bucket of Swift and an NFS export see pulls-swift.test.js and pulls-nfs.test.js.
//
//   node scripts/test.js e2e/pulls.test.js

import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { FolderPlace } from './durability/place.js'
import { freshFolder } from './machine.js'
import { testPulls } from './pulls/cases.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)

testPulls('pulls on a disk', {
  // It syncs every 64 MiB.
  sizes: { size: 200, slowFrom: 150, durable: 128 },
  open: async () => async (name) => {
    const place = new FolderPlace(join(folder, name))
    return [place, place]
  },
})

let ceph
testPulls('pulls on Ceph', {
  sizes: { size: 72, slowFrom: 52, durable: 24 },
  async open() {
    ceph = await startCeph({ port: await freePorts(5), folder: join(folder, 'Ceph') })
    return async (bucket) => {
      const place = await new BucketPlace(ceph, bucket).make()
      return [place, place]
    }
  },
  close: () => ceph?.stop(),
})
