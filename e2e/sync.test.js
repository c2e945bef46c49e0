// Images that come from another manager while either of the two is killed, stopped and replaced, between
// disks and buckets of Ceph.
//
//   node scripts/test.js e2e/sync.test.js

import { join } from 'node:path'
import { FolderPlace } from './durability/place.js'
import { freshFolder } from './machine.js'
import { testSyncs } from './sync/cases.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)

// It syncs every 64 MiB of data.
const onDisk = {
  blocks: 48,
  zeros: [3, 41],
  changed: [37, 39, 44, 47],
  slowFrom: 156,
  durable: 128,
}

const disk = (side) => async (name) => new FolderPlace(join(folder, side, name))

testSyncs('syncs from disk to disk', {
  sizes: onDisk,
  open: async () => ({
    from: disk('from'),
    to: async (name) => {
      const place = await disk('to')(name)
      return [place, place]
    },
  }),
})
