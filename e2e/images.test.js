// Real disk images through the real server, on a disk and in buckets of Ceph and Swift. For an NFS export
// see images-nfs.test.js.
//
//   node scripts/test.js e2e/images.test.js      as root; takes some minutes, makes a Debian once

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { makeImages, testImages } from './images/cases.js'
import { freshFolder } from './machine.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'
import { startSwift } from './servers/swift.js'

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

const stores = [
  { name: 'Ceph', start: startCeph, env: {} },
  // It can not create exclusively.
  { name: 'Swift', start: startSwift, env: { S3_SINGLE_WRITER: 'true' } },
]
for (const { name, start, env } of stores) {
  let store
  testImages(`real images on ${name}`, {
    folder,
    async open() {
      store = await start({ port: await freePorts(5), folder: join(folder, name) })
      const place = await new BucketPlace(store, 'images').make()
      return { env: { ...place.env, ...env } }
    },
    close: () => store?.stop(),
  })
}
