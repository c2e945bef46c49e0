// Four servers over one folder, 64 clients, 200 names, and deaths at any moment: what one server has
// acknowledged, all have.
//
//   REPLICA_SECONDS=45 SEED=1 node scripts/test.js e2e/replicas.test.js

import { join } from 'node:path'
import { suite } from 'uvu'
import { FolderPlace } from './durability/place.js'
import { freshFolder } from './machine.js'
import { tryReplicas } from './replicas/trial.js'
import { crowd, judge, secondsOr, seed } from './replicas/verdict.js'

const seconds = secondsOr(45)
const mebibyte = 1024 * 1024

const replicas = suite('replicas on one folder')

replicas('four servers agree, whoever is killed', async () => {
  const folder = freshFolder()
  console.log(`  REPLICA_SECONDS=${seconds} SEED=${seed}`)
  try {
    const place = new FolderPlace(join(folder.path, 'store'))
    const outcome = await tryReplicas([place, place, place, place], {
      ...crowd,
      seed,
      seconds,
      thinkMs: 600,
      largeBytes: 4 * mebibyte,
      slowBytes: 6 * mebibyte,
      killEveryMs: 6000,
    })
    judge(outcome, seconds)
  } finally {
    folder.remove()
  }
})

replicas.run()
