// The server on a real bucket is killed again and again, at any moment and under load, also in the
// middle of multipart uploads, and started on what that left.
//
//   S3_CRASH_ROUNDS=30 SEED=1 node scripts/test.js e2e/crash-s3.test.js

import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { BucketPlace } from './durability/bucket-place.js'
import { Counts } from './durability/load.js'
import { Crashes } from './durability/rounds.js'
import { freshFolder } from './machine.js'
import { startCeph } from './servers/ceph.js'
import { Web } from './servers/web.js'

const rounds = Number(process.env.S3_CRASH_ROUNDS || 30)
const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))
const port = Number(process.env.CEPH_PORT || 8890)
/** Most of a round is waiting: for a start, for something to lose, for the moment to kill. */
const lanes = 3
/** Larger than two parts, so that some are stored and some are not. */
const loadOptions = { hugeMiB: 40, patienceMs: 10_000, loadMostMs: 4000 }

const crash = suite('SIGKILL on S3')

crash('an acknowledged image is whole, a deleted one gone, and nothing is half there', async () => {
  const counts = new Counts()
  const folder = freshFolder()
  console.log(`  S3_CRASH_ROUNDS=${rounds} SEED=${seed}`)
  const web = await Web.start()
  let ceph
  try {
    ceph = await startCeph({ port, folder: join(folder.path, 'ceph') })
    const runs = Array.from({ length: lanes }, async (_, lane) => {
      const place = await new BucketPlace(ceph, `crash-${lane}`).make()
      const crashes = new Crashes({ place, web, seed: seed + 1000 * lane, counts, loadOptions })
      await crashes.run(Math.ceil(rounds / lanes))
      await place.remove()
    })
    // The store is that of all.
    await Promise.allSettled(runs)
    await Promise.all(runs)
  } finally {
    await web.stop()
    await ceph?.stop()
    folder.remove()
  }
  console.log(`  ${counts.toString()}`)
  // What never happens proves nothing.
  if (rounds < 20) return
  assert.ok(counts.of('kill', 'in mid-multipart') > 0, 'no multipart upload was ever cut')
  const expected = { put: [201, 'cut'], stream: ['cut'], remove: [204], kill: ['under load'] }
  Object.assign(expected, { pull: [202], 'killed pull': ['ready', 'gone on with'] })
  for (const [kind, outcomes] of Object.entries(expected)) {
    for (const outcome of outcomes) {
      assert.ok(counts.of(kind, outcome) > 0, `no ${kind} ended with ${outcome}`)
    }
  }
})

crash.run()
