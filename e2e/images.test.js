// Real disk images through the real server, on a disk and in a bucket of Ceph. For a bucket of Swift and an
// NFS export see images-swift.test.js and images-nfs.test.js.
//
//   node scripts/test.js e2e/images.test.js      as root; takes some minutes, makes a Debian once

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { makeImages, testImages } from './images/cases.js'
import { freshFolder } from './machine.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)
await makeImages(folder)

testImages('real images on a disk', {
  folder,
  hasFiles: true,
  async open() {
    const storage = join(folder, 'storage')
    mkdirSync(storage)
    return { storage }
  },
})

let ceph
testImages('real images on Ceph', {
  folder,
  async open() {
    ceph = await startCeph({ port: await freePorts(5), folder: join(folder, 'Ceph') })
    const { env } = await new BucketPlace(ceph, 'images').make()
    return { env }
  },
  close: () => ceph?.stop(),
})
