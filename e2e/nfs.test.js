// The NFS backend on real NFS: the Linux kernel's server, and two clients of it, in a guest.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { join } from 'node:path'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const nfs = suite('nfs')

/** Runs a test file in a guest; what it says shows why it failed. */
async function passes(file, version) {
  requireTools('mount.nfs', 'rpc.nfsd', 'rpcbind', 'mkfs.ext4', 'ip', 'modprobe')
  const folder = freshFolder()
  try {
    const exitCode = await runNfsGuest({
      folder: folder.path,
      command: `cd '${root}' && exec '${process.execPath}' scripts/test.js ${join('e2e/guest', file)}`,
      version,
      second: true,
      timeoutMs: 600_000,
    })
    assert.is(exitCode, 0, `NFS ${version}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
}

nfs('the contract of every backend holds between two clients, by NFS 4.2 and NFS 3', async () => {
  await Promise.all(['4.2', '3'].map((version) => passes('nfs-conformance.js', version)))
})

nfs('what is particular to NFS is seen to', () => passes('nfs-cases.js', '4.2'))

nfs.run()
