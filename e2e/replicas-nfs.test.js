// Two servers on each of two clients of one NFS export, in a guest, and deaths at any moment: what one
// server has acknowledged, all have.
//
//   REPLICA_SECONDS=45 SEED=1 node scripts/test.js e2e/replicas-nfs.test.js

import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'
import { secondsOr, seed } from './replicas/verdict.js'

const seconds = secondsOr(45)

const replicas = suite('replicas on one NFS export')

replicas('four servers at two clients agree, whoever is killed', async () => {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const folder = freshFolder()
  console.log(`  REPLICA_SECONDS=${seconds} SEED=${seed}`)
  try {
    const script = join(root, 'e2e/guest/replicas.js')
    const exitCode = await runNfsGuest({
      folder: folder.path,
      second: true,
      command: `exec '${process.execPath}' '${script}' ${seconds} ${seed}`,
      timeoutMs: 300_000 + 2000 * seconds,
    })
    assert.is(exitCode, 0, `SEED=${seed}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
})

replicas.run()
