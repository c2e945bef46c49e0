// Runs in a guest that has an NFS mount (nfs.sh): the server is killed again and again on it.
//
//   node crash.js ROUNDS SEED

import { Counts } from '../durability/load.js'
import { NfsPlace } from '../durability/place.js'
import { Crashes } from '../durability/rounds.js'
import { Web } from '../servers/web.js'

const [rounds, seed] = process.argv.slice(2).map(Number)
const counts = new Counts()
// One processor, which emulates another machine: a round has to be long enough for something to happen.
const loadOptions = { largestMiB: 2, patienceMs: 10_000, loadMostMs: 1500 }
const web = await Web.start()
const crashes = new Crashes({ place: new NfsPlace('/mnt/nfs'), web, seed, counts, loadOptions })
try {
  await crashes.run(rounds)
  // Of two rounds, on a slow machine, both may end before anything has come whole.
  const isLong = counts.of('kill', 'under load') > 2
  if (isLong && !counts.isAcknowledged) throw new Error('no upload was acknowledged')
  if (isLong && counts.of('pull', 202) === 0) throw new Error('no pull was taken on')
  // What never happens proves nothing.
  const isGoneOnWith = counts.of('killed pull', 'gone on with') > 0
  if (rounds >= 10 && !isGoneOnWith) throw new Error('no pull was gone on with after a kill')
} catch (error) {
  console.log(`  FAULT ${error.message}`)
  process.exitCode = 1
}
await web.stop()
console.log(`  ${counts.toString()}`)
