// The server is killed again and again, at any moment and under load, and started on what that left.
//
//   CRASH_ROUNDS=200 SEED=1 node scripts/test.js e2e/crash.test.js

import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Counts } from './durability/load.js'
import { FolderPlace } from './durability/place.js'
import { Crashes } from './durability/rounds.js'
import { freshFolder } from './machine.js'
import { Web } from './servers/web.js'

const rounds = Number(process.env.CRASH_ROUNDS || 40)
const seed = Number(process.env.SEED || Math.floor(Math.random() * 2 ** 32))
/** Most of a round is waiting: for a start, for the moment to kill. */
const lanes = 2
/** Then a fresh folder, so that both young and old stores are met. */
const roundsPerFolder = 50
const loadOptions = { patienceMs: 1500, loadMostMs: 500 }

const crash = suite('SIGKILL')

crash('an acknowledged image is whole, a deleted one gone, and nothing is half there', async () => {
  const counts = new Counts()
  const folder = freshFolder()
  const perLane = Math.ceil(rounds / lanes)
  console.log(`  CRASH_ROUNDS=${rounds} SEED=${seed}`)
  const web = await Web.start()
  try {
    const runs = Array.from({ length: lanes }, async (_, lane) => {
      for (let done = 0; done < perLane; done += roundsPerFolder) {
        const place = new FolderPlace(join(folder.path, `${lane}-${done}`))
        const own = seed + 1_000 * lane + done
        const crashes = new Crashes({ place, web, seed: own, counts, loadOptions })
        await crashes.run(Math.min(roundsPerFolder, perLane - done))
      }
    })
    // The folder is that of all.
    await Promise.allSettled(runs)
    await Promise.all(runs)
  } finally {
    await web.stop()
    folder.remove()
  }
  console.log(`  ${counts.toString()}`)
  assert.ok(counts.of('kill', 'under load') >= rounds / 2, 'hardly any round came to its load')
  // What never happens proves nothing.
  if (rounds < 20) return
  const expected = { put: [201, 'cut'], stream: ['cut'], form: [201, 'cut'], wrong: [422] }
  Object.assign(expected, { rollback: [201], remove: [204], pull: [202], pulled: ['deleted'] })
  expected['killed pull'] = ['ready', 'gone on with']
  for (const [kind, outcomes] of Object.entries(expected)) {
    for (const outcome of outcomes) {
      assert.ok(
        counts.of(kind, outcome) > 0,
        `no ${kind} ended with ${outcome}: ${counts.toString()}`,
      )
    }
  }
})

crash.run()
