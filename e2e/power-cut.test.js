// A disk that loses what was not synced: ext4 on dm-flakey in a guest, whose power is cut under load.
//
//   CUT_ROUNDS=12 SEED=1 node scripts/test.js e2e/power-cut.test.js

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { join } from 'node:path'
import { runInGuest } from './durability/guest.js'
import { freshFolder, requireTools, root } from './machine.js'

const rounds = Number(process.env.CUT_ROUNDS || 12)
const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))

const cut = suite('power cuts')

cut('what was acknowledged before the power was cut is there and whole', async () => {
  requireTools('mkfs.ext4', 'dmsetup', 'ip', 'modprobe')
  const folder = freshFolder()
  console.log(`  CUT_ROUNDS=${rounds} SEED=${seed}`)
  try {
    const script = join(root, 'e2e/guest/power-cut.js')
    const exitCode = await runInGuest({
      folder: folder.path,
      command: `exec '${process.execPath}' '${script}' ${rounds} ${seed}`,
      diskBytes: 512 * 1024 * 1024,
      timeoutMs: 60_000 + 15_000 * rounds,
    })
    assert.is(exitCode, 0, `SEED=${seed}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
})

cut.run()
