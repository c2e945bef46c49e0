// Every request of every operation fails once, and from there on, in every way: the result is the
// right one or an error of the right kind, the key is whole, and nothing is left.

import { isImageError } from '@backing-image/core'
import pLimit from 'p-limit'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { S3Backend } from './index.ts'
import { type Fault, FakeS3 } from './testing/index.ts'
import { type Scenario, type Subject, type Verdict } from './testing/scenario.ts'
import { attempt, openPlace, partBytes, scenarios } from './testing/scenario.ts'
import { leftovers, outcome, prefix, settingsFor, sweep, told } from './testing/store.ts'

const faults = suite('s3: faults')

async function withSubject(
  totalTimeoutMs: number,
  test: (subject: Subject) => Promise<void>,
): Promise<void> {
  const server = await FakeS3.start({ partMinBytes: partBytes })
  const backend = await S3Backend.open({ ...settingsFor(server), totalTimeoutMs })
  const place = openPlace(server, totalTimeoutMs)
  try {
    await test({ server, backend, place })
  } finally {
    server.calm()
    place.bucket.close()
    await backend.close()
    await server.stop()
  }
}

interface Sweep {
  fault: Fault
  isLasting?: boolean
  abortAfterMs?: number
  /** Which scenarios; all unless given. */
  of?: (scenario: Scenario) => boolean
  check: (verdict: Verdict, scenario: Scenario) => void
}

/** Trials wait much and work little: many at a time. Resolves to how many there were. */
async function sweepAll(
  subject: Subject,
  sweeps: Sweep[],
  backends: S3Backend[] = [],
): Promise<number> {
  const limit = pLimit(24)
  let count = 0
  const free = [...backends]
  const lines = sweeps.flatMap(({ of = () => true, check, isLasting = false, ...rest }) =>
    scenarios.filter(of).map((scenario) =>
      limit(async () => {
        const each = { ...subject, backend: free.pop() ?? subject.backend }
        for (let index = 1; ; index += 1) {
          const trial = { ...rest, scenario, index, isLasting }
          const verdict = await attempt(each, trial)
          if (isLasting) await recovered(each, each.backend)
          if (!verdict.wasReached) {
            assert.ok(index > 1, `${scenario.what} has no request`)
            return
          }
          count += 1
          check(verdict, scenario)
        }
      }),
    ),
  )
  await Promise.all(lines)
  return count
}

/** A backend that was told nothing thinks for a while that the store is down. */
async function recovered({ server }: Subject, backend: S3Backend): Promise<void> {
  server.medium.put(`${prefix}is/there`, Buffer.from('x'), {})
  while (isImageError(await outcome(backend.stat('is/there')), 'unavailable')) await pause(100)
}

function isRight({ error, what }: Verdict, { fails }: Scenario): void {
  if (fails === undefined) assert.is(error, undefined, what)
  else assert.ok(isImageError(error, fails), what)
}

function isPut({ what }: Scenario): boolean {
  return what.includes('put')
}

const passing: Fault[] = [
  { kind: 'refuse', status: 500, code: 'InternalError' },
  { kind: 'refuse', status: 503, code: 'SlowDown', isEarly: true },
  { kind: 'deny', status: 500, code: 'InternalError' },
  { kind: 'lose' },
  { kind: 'cut request', afterBytes: 1_000 },
  { kind: 'cut answer', afterBytes: 50 },
]

faults('one passing failure of any request of any operation is never seen', () =>
  withSubject(8_000, async (subject) => {
    const sweeps = passing.map((fault) => ({ fault, check: isRight }))
    const count = await sweepAll(subject, sweeps)
    assert.ok(count > 150, `only ${count} were tried`)
    // An upload that was begun without an answer has an id that nobody knows.
    await sweep(subject.backend)
    assert.equal(leftovers(subject.server), [])
  }),
)

faults('a refused key is permission_denied, whatever it was refused for, and leaves nothing', () =>
  withSubject(8_000, async (subject) => {
    const fault: Fault = { kind: 'refuse', status: 403, code: 'AccessDenied' }
    let denials = 0
    const check = ({ error, what }: Verdict, { fails }: Scenario): void => {
      // Some steps can be done without, or are done again.
      if (error === undefined) return
      assert.ok(isImageError(error, 'permission_denied', ...(fails ? [fails] : [])), what)
      denials += 1
    }
    const count = await sweepAll(subject, [{ fault, check }])
    assert.ok(denials > count / 2, `only ${denials} of ${count} were denied`)
    // A segment that may not be deleted when it was copied.
    await sweep(subject.backend)
    assert.equal(leftovers(subject.server), [])
  }),
)

const totalTimeoutMs = 600
const lasting: Fault[] = [
  { kind: 'refuse', status: 503, code: 'SlowDown' },
  { kind: 'lose' },
  { kind: 'stall', when: 'after' },
]

faults(
  'from one request on everything fails: it is unavailable, in time, and the key is whole',
  () =>
    withSubject(totalTimeoutMs, async (subject) => {
      const check = ({ error, what }: Verdict): void => {
        // Some last steps can be done without.
        assert.ok(error === undefined || isImageError(error, 'unavailable'), what)
      }
      const some = new Set([
        'a small put',
        'an ifAbsent put',
        'a ranged read',
        'a scan',
        'a delete',
      ])
      const of = ({ what }: Scenario): boolean => some.has(what)
      const sweeps = lasting.map((fault) => ({ fault, isLasting: true, of, check }))
      // Those that are told nothing must not make others think that the store is down.
      const backends: S3Backend[] = []
      while (backends.length < some.size * lasting.length) {
        backends.push(await S3Backend.open({ ...settingsFor(subject.server), totalTimeoutMs }))
      }
      const startedAtMs = performance.now()
      const count = await sweepAll(subject, sweeps, backends)
      await Promise.all(backends.map((backend) => backend.close()))
      assert.ok(count > 15, `only ${count} were tried`)
      assert.ok(performance.now() - startedAtMs < 60_000, 'a request was not bounded')
    }),
)

faults('an abort ends a put that no request of which is answered, and leaves nothing', () =>
  withSubject(8_000, async (subject) => {
    const check = ({ error, what }: Verdict): void => {
      assert.ok(error === undefined || told(error) === 'Error: stop', what)
    }
    const of = ({ hasParts }: Scenario): boolean => hasParts === true
    const sweeps = lasting.map((fault) => ({ fault, isLasting: true, abortAfterMs: 50, of, check }))
    const count = await sweepAll(subject, sweeps)
    assert.ok(count > 40, `only ${count} were tried`)
    await sweep(subject.backend)
    assert.equal(leftovers(subject.server), [])
  }),
)

faults('a success that is none is no success', () =>
  withSubject(400, async (subject) => {
    const errors = ['before', 'after'] as const
    await sweepAll(subject, [
      ...errors.map((when) => ({
        fault: { kind: 'error in 200', code: 'InternalError', when } as const,
        of: isPut,
        check: () => undefined,
      })),
      ...[-7, 7].map((byBytes) => ({
        fault: { kind: 'wrong length', byBytes } as const,
        of: ({ what }: Scenario) => what === 'a ranged read',
        check: () => undefined,
      })),
    ])
  }),
)

faults.run()
