// The server on a real NFS mount, in a guest: killed again and again, and with an NFS server that
// stops in the middle of uploads and comes back.
//
//   NFS_CRASH_ROUNDS=30 NFS_OUTAGE_ROUNDS=3 SEED=1 node scripts/test.js e2e/crash-nfs.test.js

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { join } from 'node:path'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const rounds = Number(process.env.NFS_CRASH_ROUNDS || 30)
const outages = Number(process.env.NFS_OUTAGE_ROUNDS || 2)
const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))

const nfs = suite('NFS')

async function inGuest({ script, count, options, timeoutMs }) {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const folder = freshFolder()
  console.log(`  ${script} ${options}: ${count} rounds, SEED=${seed}`)
  try {
    const command = `exec '${process.execPath}' '${join(root, 'e2e/guest', script)}' ${count} ${seed}`
    const exitCode = await runNfsGuest({ folder: folder.path, command, options, timeoutMs })
    assert.is(exitCode, 0, `SEED=${seed}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
}

nfs('SIGKILL: an acknowledged image is whole, a deleted one gone, nothing half there', async () => {
  const timeoutMs = 240_000 + 15_000 * rounds
  await inGuest({ script: 'crash.js', count: rounds, options: 'hard', timeoutMs })
})

for (const options of ['hard', 'soft,timeo=10,retrans=1']) {
  nfs(
    `an NFS server that stops and comes back, ${options}: nothing acknowledged is lost`,
    async () => {
      const timeoutMs = 300_000 + 60_000 * outages
      await inGuest({ script: 'outages.js', count: outages, options, timeoutMs })
    },
  )
}

nfs.run()
