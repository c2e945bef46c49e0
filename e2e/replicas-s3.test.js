// Four servers over one bucket, 64 clients, 200 names, and deaths at any moment, also in the middle of
// multipart uploads: what one server has acknowledged, all have.
//
//   REPLICA_SECONDS=75 SEED=1 node scripts/test.js e2e/replicas-s3.test.js

import { join } from 'node:path'
import { suite } from 'uvu'
import { BucketPlace } from './durability/bucket-place.js'
import { freshFolder } from './machine.js'
import { tryReplicas } from './replicas/trial.js'
import { crowd, judge, secondsOr, seed } from './replicas/verdict.js'
import { startCeph } from './servers/ceph.js'

const seconds = secondsOr(75)
const port = Number(process.env.CEPH_PORT || 8890)
const mebibyte = 1024 * 1024

const replicas = suite('replicas on one bucket')

replicas('four servers agree, whoever is killed', async () => {
  const folder = freshFolder()
  console.log(`  REPLICA_SECONDS=${seconds} SEED=${seed}`)
  let ceph
  try {
    ceph = await startCeph({ port, folder: join(folder.path, 'ceph') })
    const place = await new BucketPlace(ceph, 'replicas').make()
    const outcome = await tryReplicas([place, place, place, place], {
      ...crowd,
      seed,
      seconds,
      // Servers, clients and the store itself share the processors of one machine.
      thinkMs: 2500,
      // Some of several parts, and those of the slow ones too when their servers die.
      largeBytes: 24 * mebibyte,
      slowBytes: 24 * mebibyte,
      slowClients: 5,
      killEveryMs: 8000,
    })
    await place.remove()
    judge(outcome, seconds)
  } finally {
    await ceph?.stop()
    folder.remove()
  }
})

replicas.run()
