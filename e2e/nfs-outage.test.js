// An NFS server that is away for a while, in a guest: the gateway must answer all the same, and be well
// again by itself when the NFS server is.
//
//   OUTAGE_SECONDS=20 node scripts/test.js e2e/nfs-outage.test.js

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { join } from 'node:path'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const outageSeconds = Number(process.env.OUTAGE_SECONDS || 20)
const mounts = [
  { version: '4.2', options: 'hard' },
  { version: '3', options: 'soft,timeo=30,retrans=2' },
]

const outage = suite('NFS outage')

async function inGuest({ version, options }) {
  requireTools('mkfs.ext4', 'mount.nfs', 'rpc.nfsd', 'rpcbind')
  const folder = freshFolder()
  try {
    const script = join(root, 'e2e/guest/outage.js')
    const exitCode = await runNfsGuest({
      folder: folder.path,
      command: `exec '${process.execPath}' '${script}' ${outageSeconds} '${version} ${options}'`,
      version,
      options,
      timeoutMs: 200_000 + 2000 * outageSeconds,
    })
    assert.is(exitCode, 0, `NFS ${version} ${options}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
}

outage('a gateway, by NFSv4.2 hard and NFSv3 soft, answers while its server is away', async () => {
  const guests = mounts.map(inGuest)
  await Promise.all(guests.map((guest) => guest.catch((error) => console.log(error))))
  await Promise.all(guests)
})

outage.run()
