// Images that come from URLs while their servers are killed, stopped and replaced, on a disk and in
// buckets of Ceph and Swift. For an NFS export see pulls-nfs.test.js.
//
//   node scripts/test.js e2e/pulls.test.js

import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { FolderPlace } from './durability/place.js'
import { freshFolder } from './machine.js'
import { testPulls } from './pulls/cases.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'
import { startSwift } from './servers/swift.js'

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

const stores = [
  { name: 'Ceph', start: startCeph, env: {} },
  // It can not create exclusively, and so has one server at a time.
  {
    name: 'Swift',
    start: startSwift,
    env: { S3_SINGLE_WRITER: 'true' },
    acts: ['killed', 'stopped', 'deleted'],
  },
]
for (const { name, start, env, acts } of stores) {
  let store
  testPulls(`pulls on ${name}`, {
    sizes: { size: 72, slowFrom: 52, durable: 24 },
    acts,
    async open() {
      store = await start({ port: await freePorts(5), folder: join(folder, name) })
      return async (bucket) => {
        const place = await new BucketPlace(store, bucket).make()
        Object.assign(place.env, env)
        return [place, place]
      }
    },
    close: () => store?.stop(),
  })
}
