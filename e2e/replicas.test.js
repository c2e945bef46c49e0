// Four servers over one store, 64 clients, 200 names, and deaths at any moment: what one server has
// acknowledged, all have. On a folder, on a bucket, and with two clients of one NFS export.
//
//   REPLICA_SECONDS=45 SEED=1 REPLICA_STORES=local,s3,nfs node scripts/test.js e2e/replicas.test.js

import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { BucketPlace } from './durability/bucket-place.js'
import { runNfsGuest } from './durability/guest.js'
import { FolderPlace } from './durability/place.js'
import { freshFolder, requireTools, root } from './machine.js'
import { assertEnough, tryReplicas } from './replicas/trial.js'
import { startCeph } from './servers/ceph.js'

const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))
const port = Number(process.env.CEPH_PORT || 8890)
const stores = (process.env.REPLICA_STORES || 'local,s3,nfs').split(',')
const mebibyte = 1024 * 1024
const options = { seed, clients: 64, names: 200, slowClients: 3 }

const replicas = suite('replicas')

function secondsOr(usual) {
  return Number(process.env.REPLICA_SECONDS || usual)
}

/** Runs `work` with a folder of its own. */
async function inFolder(what, work) {
  const folder = freshFolder()
  console.log(`  ${what}, SEED=${seed}`)
  try {
    await work(folder.path)
  } finally {
    folder.remove()
  }
}

function judge(outcome, seconds) {
  console.log(`  ${outcome.told}`)
  assert.ok(outcome.faults === '', `SEED=${seed}\n    ${outcome.faults}`)
  assertEnough(outcome, seconds)
}

async function onFolder() {
  const seconds = secondsOr(45)
  await inFolder(`one folder, ${seconds} s`, async (folder) => {
    const place = new FolderPlace(join(folder, 'store'))
    const outcome = await tryReplicas(Array(4).fill(place), {
      ...options,
      seconds,
      thinkMs: 600,
      largeBytes: 4 * mebibyte,
      largeShare: 0.03,
      slowBytes: 2 * mebibyte,
      killEveryMs: 6000,
    })
    judge(outcome, seconds)
  })
}

async function onBucket() {
  const seconds = secondsOr(75)
  await inFolder(`one bucket, ${seconds} s`, async (folder) => {
    const ceph = await startCeph({ port, folder: join(folder, 'ceph') })
    const place = new BucketPlace(ceph, 'replicas')
    try {
      await place.make()
      const outcome = await tryReplicas(Array(4).fill(place), {
        ...options,
        seconds,
        thinkMs: 2500,
        // Some of several parts.
        largeBytes: 24 * mebibyte,
        largeShare: 0.02,
        slowBytes: 40 * mebibyte,
        killEveryMs: 12_000,
      })
      judge(outcome, seconds)
    } finally {
      await place.remove()
      await ceph.stop()
    }
  })
}

async function onNfs() {
  requireTools('mkfs.ext4', 'ip', 'modprobe', 'rpc.nfsd', 'mount.nfs')
  const seconds = secondsOr(45)
  await inFolder(`one NFS export, two clients, ${seconds} s`, async (folder) => {
    const script = join(root, 'e2e/guest/replicas.js')
    const exitCode = await runNfsGuest({
      folder,
      second: true,
      command: `exec '${process.execPath}' '${script}' ${seconds} ${seed}`,
      timeoutMs: 300_000 + 2000 * seconds,
    })
    assert.is(exitCode, 0, `SEED=${seed}: see what the guest wrote`)
  })
}

const tests = { local: onFolder, s3: onBucket, nfs: onNfs }
for (const store of stores) {
  if (!tests[store]) throw new Error(`REPLICA_STORES: "${store}" is none of ${Object.keys(tests)}.`)
  replicas(`four servers on ${store} agree, whoever is killed`, tests[store])
}

replicas.run()
