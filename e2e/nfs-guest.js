// A test file in a guest that is an NFS server, and two clients of it.

import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { runNfsGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

/** Runs a test file of e2e/guest by a version of NFS; what it says shows why it failed. */
export async function passes(file, version, { cases = '' } = {}) {
  requireTools('mount.nfs', 'rpc.nfsd', 'rpcbind', 'mkfs.ext4', 'ip', 'modprobe')
  const folder = freshFolder()
  const test = `'${process.execPath}' scripts/test.js ${join('e2e/guest', file)}`
  try {
    const exitCode = await runNfsGuest({
      folder: folder.path,
      command: `cd '${root}' && CASES='${cases}' TEST_TIMEOUT_MS=400000 exec ${test}`,
      version,
      second: true,
      timeoutMs: 600_000,
    })
    assert.is(exitCode, 0, `NFS ${version}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
}
