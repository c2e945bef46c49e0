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

async function inGuest(count, own) {
  const folder = freshFolder()
  console.log(`  CUT_ROUNDS=${count} SEED=${own}`)
  try {
    const script = join(root, 'e2e/guest/power-cut.js')
    const exitCode = await runInGuest({
      folder: folder.path,
      command: `exec '${process.execPath}' '${script}' ${count} ${own}`,
      diskBytes: 512 * 1024 * 1024,
      timeoutMs: 120_000 + 30_000 * count,
    })
    assert.is(exitCode, 0, `SEED=${own}: see what the guest wrote`)
  } finally {
    folder.remove()
  }
}

/** A guest has one processor: two of them, each with a disk and a half of the rounds. */
cut('what was acknowledged before the power was cut is there and whole', async () => {
  requireTools('mkfs.ext4', 'dmsetup', 'ip', 'modprobe')
  const guests = [seed, seed + 1].map((own) => inGuest(Math.ceil(rounds / 2), own))
  await Promise.all(guests.map((guest) => guest.catch((error) => console.log(error))))
  await Promise.all(guests)
})

cut.run()
