// Real disk images through the real server on an NFS export, in a guest.
//
//   node scripts/test.js e2e/images-nfs.test.js      as root

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { runNfsGuest } from './durability/guest.js'
import { makeImages } from './images/cases.js'
import { freshFolder, requireTools, root } from './machine.js'

const nfs = suite('NFS')

nfs('real images are kept, handed out and converted', async () => {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const { path: folder, remove } = freshFolder()
  try {
    await makeImages(folder, { isSmall: true })
    const test = `'${process.execPath}' scripts/test.js e2e/guest/images.js`
    const exitCode = await runNfsGuest({
      folder,
      command: `cd '${root}' && IMAGES='${folder}' TEST_TIMEOUT_MS=400000 exec ${test}`,
      timeoutMs: 420_000,
    })
    assert.is(exitCode, 0, 'see what the guest wrote')
  } finally {
    remove()
  }
})

nfs.run()
