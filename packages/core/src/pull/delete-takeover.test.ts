// A delete that meets a take-over: work whose owner is dead, which one server goes on with while another
// one removes it, is gone afterwards, whichever of their steps meet.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { BeforeVerb, Verb } from '../testing/memory.ts'
import type { Failpoint } from '../publish.ts'
import { type Pulling, pullOf, pulling } from '../testing/pulling.ts'
import { type Town, disk, failure, half, latch } from '../testing/rig.ts'

const meeting = suite('pulls: delete and take-over')

/** Stops a server before the verb that matches: `reached` resolves then, and `go` lets it go on. */
function stopBefore(matches: (verb: Verb, key: string) => boolean): {
  reached: Promise<void>
  go: () => void
  before: BeforeVerb
} {
  const [reached, go] = [latch(), latch()]
  const before: BeforeVerb = async (verb, key) => {
    if (!matches(verb, key)) return
    reached.open()
    await go.opened
  }
  return { reached: reached.opened, go: go.open, before }
}

/** Work that is half done, and whose owner is dead. */
const beginnings = {
  pull: async ({ town, web, open }: Pulling): Promise<void> => {
    const fault = (count: number) => (count === 1 ? { stallAfterBytes: 1000 } : undefined)
    const url = web.serve('/disk.img', disk(1), { fault }).href
    const victim = await open()
    await victim.store.pull(pullOf('jammy', { url }))
    while (web.requests.length === 0) await pause(1)
    town.medium.kill(victim.backend.owner)
  },
  upload: async ({ town, open }: Pulling): Promise<void> => {
    const victim = await open()
    await half(victim.store, 'jammy')
    town.medium.kill(victim.backend.owner)
  },
}

/** Where the delete is when the other server claims the work, which it looked at before. */
const steps: [string, Verb?, RegExp?][] = [
  ['has not begun'],
  ['is about to cancel', 'put', /^\.jobs\/.*cancel\.json$/],
  ['is about to mark', 'put', /^\.marks\/jammy-/],
  ['has listed the files of the job', 'delete', /^\.jobs\/.*\/1\.json$/],
  ['has deleted the first claim', 'delete', /^\.jobs\/.*(beat|cancel|source)\.json$/],
  ['is over', 'stat', /never/],
]

for (const [kind, begin] of Object.entries(beginnings)) {
  for (const [title, verb, key] of steps) {
    meeting(
      `${kind}: it is claimed while the delete ${title}`,
      pulling(async (rig) => {
        const { town, open } = rig
        const taker = await open()
        const remover = await town.open()
        await begin(rig)
        const claiming = stopBefore((each, at) => each === 'put' && at.endsWith('/2.json'))
        taker.backend.before = claiming.before
        const tending = taker.store.tend()
        await claiming.reached
        const removing = stopBefore((each, at) => each === verb && key?.test(at) === true)
        remover.backend.before = removing.before
        if (key === undefined) claiming.go()
        if (key === undefined) await tending
        const removed = remover.store.remove('jammy')
        await Promise.race([removing.reached, removed])
        claiming.go()
        await tending
        removing.go()
        await removed
        for (let left = 2000; left > 0 && isWorkedOn(town); left--) await pause(1)
        const { store, problems } = await open()
        await store.sweep()
        // What is left of files that belong to no job goes after an hour.
        town.pass(2)
        await store.sweep()
        assert.is((await failure(store.get('jammy'))).code, 'not_found')
        assert.equal(town.unmarked(), [])
        assert.is(town.medium.unfinished.size, 0)
        assert.equal([problems, taker.problems, remover.problems], [[], [], []])
      }),
    )
  }
}

meeting(
  'a pull that was being deleted is ended before a store is open',
  pulling(async ({ town, web, open }) => {
    const url = web.serve('/disk.img', disk(1)).href
    const [stored, over] = [latch(), latch()]
    const at: Failpoint = async (step) => {
      if (step !== 'bytes stored') return
      stored.open()
      await over.opened
    }
    const removing = stopBefore((verb, key) => verb === 'delete' && key.endsWith('/backing'))
    try {
      const owner = await open({ at })
      const remover = await open()
      remover.backend.before = removing.before
      await owner.store.pull(pullOf('jammy', { url }))
      await stored.opened
      town.medium.kill(owner.backend.owner)
      void remover.store.remove('jammy').catch(() => {})
      await removing.reached
      town.medium.kill(remover.backend.owner)
      await open()
      assert.equal(town.unmarked(), [])
    } finally {
      over.open()
      removing.go()
    }
  }),
)

/** Whether a claim is there. */
function isWorkedOn(town: Town): boolean {
  return town.keys('.jobs/').some((key) => /\/\d+\.json$/.test(key))
}

meeting.run()
