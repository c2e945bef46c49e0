// Images that come from URLs while their servers are killed, stopped and replaced, on two clients of an
// NFS export, in a guest.
//
//   node scripts/test.js e2e/pulls-nfs.test.js

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const nfs = suite('NFS')

async function inGuest(acts) {
  const { path: folder, remove } = freshFolder()
  try {
    const test = `'${process.execPath}' scripts/test.js e2e/guest/pulls.js`
    const exitCode = await runNfsGuest({
      folder,
      second: true,
      command: `cd '${root}' && ACTS='${acts}' TEST_TIMEOUT_MS=400000 exec ${test}`,
      timeoutMs: 420_000,
    })
    assert.is(exitCode, 0, 'see what the guest wrote')
  } finally {
    remove()
  }
}

/** A guest has one processor. */
nfs('pulls are gone on with, whatever becomes of their server', async () => {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const guests = ['killed deleted', 'stopped replaced'].map(inGuest)
  await Promise.all(guests.map((guest) => guest.catch((error) => console.log(error))))
  await Promise.all(guests)
})

nfs.run()
