// Bytes that go bad on an NFS export, in a guest: see scrub.test.js.
//
//   node scripts/test.js e2e/scrub-nfs.test.js

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const nfs = suite('NFS')

/** A guest has one processor: what heals from another manager is tried elsewhere. */
nfs('bytes that go bad are found, given to nobody, and come back', async () => {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const { path: folder, remove } = freshFolder()
  try {
    const test = `'${process.execPath}' scripts/test.js e2e/guest/scrub.js`
    const exitCode = await runNfsGuest({
      folder,
      command: `cd '${root}' && ACTS='marked orphaned killed' TEST_TIMEOUT_MS=400000 exec ${test}`,
      timeoutMs: 420_000,
    })
    assert.is(exitCode, 0, 'see what the guest wrote')
  } finally {
    remove()
  }
})

nfs.run()
