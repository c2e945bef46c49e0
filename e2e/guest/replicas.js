// Runs in a guest with two clients of one NFS export (nfs.sh): two servers on each of them.
//
//   node replicas.js SECONDS SEED

import { NfsPlace } from '../durability/place.js'
import { tryReplicas } from '../replicas/trial.js'
import { judge } from '../replicas/verdict.js'

const [seconds, seed] = process.argv.slice(2).map(Number)
const kibibyte = 1024
const [first, second] = [new NfsPlace('/mnt/nfs'), new NfsPlace('/mnt/nfs2')]
const outcome = await tryReplicas([first, second, first, second], {
  seconds,
  seed,
  // One processor, which emulates another machine.
  clients: 16,
  names: 16,
  thinkMs: 3000,
  largeBytes: 1024 * kibibyte,
  largeShare: 0.02,
  // Progress is counted in pieces of up to 1 MiB.
  slowBytes: 6 * 1024 * kibibyte,
  slowClients: 2,
  killEveryMs: 15_000,
})
try {
  judge(outcome, seconds)
} catch (error) {
  console.log(`  FAULT ${error.message}`)
  process.exitCode = 1
}
