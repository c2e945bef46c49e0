// The server on a real NFS mount, in a guest, whose NFS server stops in the middle of uploads and comes
// back.
//
//   NFS_OUTAGE_ROUNDS=2 SEED=1 node scripts/test.js e2e/outages-nfs.test.js

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { join } from 'node:path'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const count = Number(process.env.NFS_OUTAGE_ROUNDS || 2)
const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))

const nfs = suite('NFS outages')

async function inGuest(options) {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const folder = freshFolder()
  console.log(`  ${options}: ${count} rounds, SEED=${seed}`)
  try {
    const script = join(root, 'e2e/guest/outages.js')
    const command = `exec '${process.execPath}' '${script}' ${count} ${seed}`
    const timeoutMs = 300_000 + 30_000 * count
    const exitCode = await runNfsGuest({ folder: folder.path, command, options, timeoutMs })
    assert.is(exitCode, 0, `SEED=${seed}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
}

nfs('an NFS server stops and comes back, hard or soft: nothing acknowledged is lost', async () => {
  const guests = ['hard', 'soft,timeo=10,retrans=1'].map((options) => inGuest(options))
  await Promise.all(guests.map((guest) => guest.catch((error) => console.log(error))))
  await Promise.all(guests)
})

nfs.run()
