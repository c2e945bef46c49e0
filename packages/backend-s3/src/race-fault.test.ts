// Racing exclusive puts on a store that fails at random, and single ones whose answers lie: who is
// told that it won has won, and who is told that it lost has lost.

import { bytesOf, isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Fault } from './testing/index.ts'
import { outcome, prefix, told, withStore } from './testing/store.ts'

const races = suite('s3: exclusive puts on a bad store')
const key = 'x/1.json'
const at = `${prefix}${key}`
const PutObject = { operation: 'PutObject', key: at } as const
const HeadObject = { operation: 'HeadObject', key: at } as const

const unclear: Fault[] = [
  { kind: 'refuse', status: 500, code: 'InternalError' },
  { kind: 'deny', status: 503, code: 'SlowDown' },
  { kind: 'deny', status: 412, code: 'PreconditionFailed' },
  { kind: 'refuse', status: 409, code: 'ConditionalRequestConflict' },
  { kind: 'lose' },
  { kind: 'cut request', afterBytes: 1 },
]

races(
  'of 6 writers at most one wins, and with time enough exactly one, whatever fails on the way',
  withStore(async ({ server, backend, open }) => {
    const other = await open()
    const seed = Date.now() % 1_000_000
    let state = seed
    const random = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    const run = async (round: number): Promise<void> => {
      const name = `race/${round}`
      for (let count = 0; count < 6; count += 1) {
        const fault = unclear[random(unclear.length)]
        const from = 1 + random(8)
        if (fault) server.on({ operation: 'PutObject', key: `${prefix}${name}`, from }, fault)
        const busy: Fault = { kind: 'refuse', status: 503, code: 'SlowDown' }
        server.on({ operation: 'HeadObject', key: `${prefix}${name}`, from }, busy)
      }
      const outcomes = await Promise.all(
        ['a', 'b', 'c', 'd', 'e', 'f'].map((body, writer) => {
          const each = writer % 2 === 0 ? backend : other
          return outcome(each.put(name, bytesOf(body), { ifAbsent: true }))
        }),
      )
      const what = `seed ${seed}, round ${round}: ${outcomes.map(told).join(', ')}`
      const winners = outcomes.flatMap((error, writer) => (error === undefined ? [writer] : []))
      assert.is(winners.length, 1, what)
      assert.is(server.content(`${prefix}${name}`)?.toString(), 'abcdef'[winners[0] ?? -1], what)
      for (const error of outcomes) {
        assert.ok(error === undefined || isImageError(error, 'already_exists'), what)
      }
    }
    // They wait more than they work.
    await Promise.all(Array.from({ length: 25 }, (_, round) => run(round)))
  }),
)

races(
  'what was done, but always denied, is a success by its write id',
  withStore(async ({ server, backend }) => {
    for (const fault of [
      { kind: 'deny', status: 500, code: 'InternalError' },
      { kind: 'deny', status: 412, code: 'PreconditionFailed' },
      { kind: 'lose' },
    ] as const) {
      server.calm()
      server.medium.objects.delete(at)
      server.on(PutObject, fault)
      const stat = await backend.put(key, bytesOf('mine'), { ifAbsent: true })
      assert.is(stat.tag, `"${server.medium.object(at).etag}"`)
      assert.is(server.content(at)?.toString(), 'mine')
    }
  }),
)

races(
  'what nobody can tell is unavailable, and the same put again finds out, without removing anything',
  withStore(
    async ({ server, backend }) => {
      server.on({ ...PutObject, times: 1 }, { kind: 'lose' })
      const denied = { kind: 'refuse', status: 503, code: 'SlowDown' } as const
      server.on({ ...PutObject, from: 2, times: Infinity }, denied)
      server.on(HeadObject, denied)
      const error = await outcome(backend.put(key, bytesOf('mine'), { ifAbsent: true }))
      assert.ok(isImageError(error, 'unavailable'), told(error))
      assert.is(server.content(at)?.toString(), 'mine')
      server.calm()
      const again = await outcome(backend.put(key, bytesOf('mine'), { ifAbsent: true }))
      assert.ok(isImageError(again, 'already_exists'), told(again))
      assert.not.ok(server.seen.some((each) => each.method === 'DELETE' && each.key === at))
      server.medium.objects.delete(at)
      server.on(PutObject, denied)
      const never = await outcome(backend.put(key, bytesOf('mine'), { ifAbsent: true }))
      assert.ok(isImageError(never, 'unavailable'), told(never))
      assert.is(server.content(at), undefined)
    },
    { backend: { totalTimeoutMs: 300 } },
  ),
)

races(
  'another that was faster while the answer was lost is told as a loss',
  withStore(async ({ server, backend }) => {
    server.on({ ...PutObject, times: 1 }, { kind: 'cut request', afterBytes: 0 })
    const rule = server.on({ ...HeadObject, times: 1 }, { kind: 'stall', when: 'before' })
    const late = outcome(backend.put(key, bytesOf('mine'), { ifAbsent: true }))
    await rule.met
    server.medium.put(at, Buffer.from('theirs'), {})
    rule.lift()
    const error = await late
    assert.ok(isImageError(error, 'already_exists'), told(error))
    assert.is(server.content(at)?.toString(), 'theirs')
  }),
)

races(
  'an exclusive put that is refused says so at once, and is not sent again',
  withStore(async ({ server, backend }) => {
    const rule = server.on(PutObject, { kind: 'refuse', status: 403, code: 'AccessDenied' })
    const error = await outcome(backend.put(key, bytesOf('mine'), { ifAbsent: true }))
    assert.ok(isImageError(error, 'permission_denied'), told(error))
    assert.is(rule.hits, 1)
  }),
)

races.run()
