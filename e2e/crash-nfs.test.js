// The server on a real NFS mount, in a guest: killed again and again.
//
//   NFS_CRASH_ROUNDS=30 SEED=1 node scripts/test.js e2e/crash-nfs.test.js

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { join } from 'node:path'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const rounds = Number(process.env.NFS_CRASH_ROUNDS || 30)
const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))

const nfs = suite('NFS')

async function inGuest({ script, count, options, own = seed, timeoutMs }) {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const folder = freshFolder()
  console.log(`  ${script} ${options}: ${count} rounds, SEED=${own}`)
  try {
    const command = `exec '${process.execPath}' '${join(root, 'e2e/guest', script)}' ${count} ${own}`
    const exitCode = await runNfsGuest({ folder: folder.path, command, options, timeoutMs })
    assert.is(exitCode, 0, `SEED=${own}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
}

/** A guest has one processor: two of them, each with a store and a half of the rounds. */
nfs('SIGKILL: an acknowledged image is whole, a deleted one gone, nothing half there', async () => {
  const count = Math.ceil(rounds / 2)
  const common = { script: 'crash.js', count, options: 'hard', timeoutMs: 240_000 + 15_000 * count }
  const guests = [seed, seed + 1].map((own) => inGuest({ ...common, own }))
  await Promise.all(guests.map((guest) => guest.catch((error) => console.log(error))))
  await Promise.all(guests)
})

nfs.run()
