// Healing that stops anywhere leaves nothing that nobody names, and is done by the next scrub.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Image } from '../image.ts'
import type { MemoryBackend } from '../testing/memory.ts'
import type { Town } from '../testing/rig.ts'
import { bytesKey, corruptKey, recordKey } from '../layout.ts'
import { Shelf, contents, corruptionOf, healedFolder, options, pulled } from '../testing/healing.ts'
import { inTown } from '../testing/rig.ts'
import { rot, scrubbed } from '../testing/scrubbing.ts'

const death = suite('scrub: heal, and die')

death(
  'a healer that dies anywhere leaves nothing behind but what is in use',
  inTown(async (town) => {
    let image: Image | undefined
    for (let call = 1; ; call++) {
      const victim = await town.open(options(new Shelf()))
      if (!image) {
        image = await pulled(victim, 'jammy')
        rot(town, bytesKey('jammy', image.uuid))
      }
      const key = bytesKey('jammy', image.uuid)
      const isDead = dieAtCall(town, victim.backend, call)
      await scrubbed(victim.store, { repair: true, steps: ['corrupt', 'digests'] }).catch(() => {})
      await victim.store.scrubs.stop()
      const other = await town.open(options(new Shelf()))
      await other.store.tend()
      assert.equal(await other.store.inFlight(), [])
      const corruption = await corruptionOf(other, image)
      const healed = corruption?.healedBy === undefined ? [] : healedFolder(corruption.healedBy)
      const own = healedFolder(key)
      const expected = [
        recordKey('jammy', '1'),
        ...own,
        ...healed,
        ...(corruption ? [corruptKey('jammy', image.uuid)] : []),
      ]
      assert.equal(contents(town), expected.toSorted(), `killed at call ${call}`)
      assert.is(town.medium.unfinished.size, 0)
      const then = await scrubbed(other.store, { repair: true, steps: ['corrupt', 'digests'] })
      assert.is(then.faults, then.repaired, `killed at call ${call}`)
      if (!isDead()) {
        assert.ok(call > 15, `only ${call} calls`)
        return
      }
      // As it was.
      const { healedBy = '' } = (await corruptionOf(other, image)) ?? {}
      for (const each of healedFolder(healedBy)) town.medium.remove(each)
      town.medium.remove(corruptKey('jammy', image.uuid))
    }
  }),
)

/** Kills the process before its n-th change of the store, but for those of its report. */
function dieAtCall(town: Town, backend: MemoryBackend, call: number): () => boolean {
  let calls = 0
  backend.before = (verb, key) => {
    if (verb === 'get' || verb === 'stat' || key.startsWith('.jobs/SCRUB/')) return
    calls += 1
    if (calls === call) town.medium.kill(backend.owner)
  }
  return () => calls >= call
}

death.run()
