// Images that come from another manager while either of the two is killed, stopped and replaced, between
// disks and buckets of Ceph.
//
//   node scripts/test.js e2e/sync.test.js

import { join } from 'node:path'
import { BucketPlace } from './durability/bucket-place.js'
import { FolderPlace } from './durability/place.js'
import { freshFolder } from './machine.js'
import { startCeph } from './servers/ceph.js'
import { freePorts } from './servers/servers.js'
import { testSyncs } from './sync/cases.js'

const { path: folder, remove } = freshFolder()
process.on('exit', remove)

const starting = freePorts(5).then((port) => startCeph({ port, folder: join(folder, 'ceph') }))
starting.catch(() => {})

/** What makes places of one kind, each under a name of its own. */
const kinds = {
  disk: (pair) => async (name) => new FolderPlace(join(folder, pair, name)),
  Ceph: (pair) => async (name) => await new BucketPlace(await starting, `${pair}-${name}`).make(),
}

// A disk syncs every 64 MiB of data.
const toDisk = { blocks: 28, zeros: [3, 24], changed: [20, 22, 25, 27], slowFrom: 90, durable: 64 }
const toCeph = { blocks: 16, zeros: [3], changed: [11, 13, 15], slowFrom: 48, durable: 24 }

const pairs = [
  { from: 'disk', to: 'disk', sizes: toDisk },
  { from: 'disk', to: 'Ceph', sizes: toCeph },
  { from: 'Ceph', to: 'disk', sizes: toDisk },
]
let left = pairs.length

for (const { from, to, sizes } of pairs) {
  const pair = `from-${from}-to-${to}`.toLowerCase()
  testSyncs(`syncs from ${from} to ${to}`, {
    sizes,
    open: async () => ({
      from: kinds[from](`${pair}-sender`),
      to: async (name) => {
        const place = await kinds[to](pair)(name)
        return [place, place]
      },
    }),
    close: async () => {
      left -= 1
      // The others are still to be judged.
      if (left === 0) await (await starting).stop()
    },
  })
}
