// A lease runs out only by silence that was really watched: enough looks, over enough time, each of
// them quick and successful; or by proof of death.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Job } from './claim.ts'
import { Leases } from './lease.ts'
import { description } from './testing/rig.ts'

const lease = suite('lease')

function work(overrides: Partial<Job> = {}): Job {
  const claim = {
    layout: 1,
    name: 'jammy',
    uuid: '0badcafe',
    epoch: 1,
    owner: 'somebody',
    version: '1',
    versionGiven: false,
    description: description(),
    createdAt: '2026-08-01T09:05:07.000Z',
  }
  const beat = { count: 1, state: 'in-progress' as const, processedSize: 0, at: claim.createdAt }
  const { name, uuid, epoch } = claim
  return { name, uuid, claim, epoch, beat, cancelled: false, mine: false, ...overrides }
}

/** An observer whose clock a test moves. `look` answers how many leases have run out. */
function observer(isGone?: (owner: string) => Promise<boolean>) {
  let nowMs = 1_000_000
  const leases = new Leases({ now: () => nowMs, ...(isGone && { isGone }) })
  return {
    async look(afterMs: number, jobs: Job[] | Error, tookMs: number = 0): Promise<number> {
      nowMs += afterMs
      const over = await leases.expired(async () => {
        nowMs += tookMs
        if (jobs instanceof Error) throw jobs
        return jobs
      })
      return over.length
    },
  }
}

/** Looks every ten seconds; how many looks it takes, at most 20, until the lease has run out. */
async function looksUntilOver(look: () => Promise<number>): Promise<number> {
  for (let count = 1; count <= 20; count++) if ((await look()) > 0) return count
  return Infinity
}

lease('four looks at the same counter over thirty seconds end it, and no fewer', async () => {
  const { look } = observer()
  assert.is(await look(0, [work()]), 0)
  assert.is(await look(10_000, [work()]), 0)
  assert.is(await look(10_000, [work()]), 0)
  assert.is(await look(9_999, [work()]), 0, 'a millisecond too early')
  assert.is(await look(1, [work()]), 1)
  assert.is(await look(1, [work()]), 1, 'it stays over until somebody takes it')
})

lease('long silence between three looks is not enough', async () => {
  const { look } = observer()
  assert.is(await look(0, [work()]), 0)
  assert.is(await look(3_600_000, [work()]), 0)
  assert.is(await look(3_600_000, [work()]), 0)
  assert.is(await look(0, [work()]), 1)
})

lease('many looks within thirty seconds are not enough', async () => {
  const { look } = observer()
  for (let count = 0; count < 100; count++) assert.is(await look(299, [work()]), 0)
  assert.is(await look(1000, [work()]), 1)
})

lease('a counter that moves starts the count again', async () => {
  const { look } = observer()
  for (let count = 1; count <= 20; count++) {
    const beat = { ...work().beat, count }
    for (let looks = 0; looks < 3; looks++) assert.is(await look(15_000, [work({ beat })]), 0)
  }
  const still = work({ beat: { ...work().beat, count: 20 } })
  assert.is(await look(1, [still]), 1, 'that was the fourth look')
})

lease('a new epoch starts the count again, also with the same counter', async () => {
  const { look } = observer()
  for (let count = 0; count < 3; count++) assert.is(await look(10_000, [work()]), 0)
  assert.is(await looksUntilOver(() => look(10_000, [work({ epoch: 2 })])), 4)
})

lease('a failed look starts the count again, and says that it failed', async () => {
  const { look } = observer()
  for (let count = 0; count < 3; count++) assert.is(await look(10_000, [work()]), 0)
  const broken = new Error('the storage is away')
  assert.is(await look(10_000, broken).catch((error: unknown) => error), broken)
  assert.is(await looksUntilOver(() => look(10_000, [work()])), 4)
})

lease('a slow look starts the count again', async () => {
  const { look } = observer()
  for (let count = 0; count < 3; count++) assert.is(await look(10_000, [work()]), 0)
  assert.is(await look(10_000, [work()], 5001), 0)
  for (let count = 0; count < 2; count++) assert.is(await look(10_000, [work()]), 0)
  assert.is(await look(10_000, [work()], 5000), 1, 'the slow look was itself a first one')
})

lease('work that was away for a look is counted anew', async () => {
  const { look } = observer()
  for (let count = 0; count < 3; count++) assert.is(await look(10_000, [work()]), 0)
  assert.is(await look(10_000, []), 0)
  assert.is(await looksUntilOver(() => look(10_000, [work()])), 4)
})

lease('own work and ended work never run out', async () => {
  const { look } = observer(async () => true)
  const end = { reason: 'internal' as const, message: '', endedAt: '' }
  const jobs = [work({ mine: true }), work({ end, uuid: '00000001' })]
  assert.is(await looksUntilOver(() => look(10_000, jobs)), Infinity)
})

lease('one that is silent does not end another of the same name', async () => {
  const { look } = observer()
  let count = 0
  const jobs = () => [work(), work({ uuid: '00000001', beat: { ...work().beat, count: count++ } })]
  for (let looks = 0; looks < 3; looks++) assert.is(await look(10_000, jobs()), 0)
  assert.is(await look(10_000, jobs()), 1)
})

lease('proof of death ends it at the first look, a doubt does not', async () => {
  const dead = new Set(['dead'])
  const { look } = observer(async (owner) => dead.has(owner))
  assert.is(await look(0, [work()]), 0)
  const claim = { ...work().claim, owner: 'dead' }
  assert.is(await look(0, [work(), work({ claim, uuid: '00000001' })]), 1)
})

lease.run()
