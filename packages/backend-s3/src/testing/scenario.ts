// One operation of the backend, which is run again and again while another of its requests fails in
// another way; and what must be true afterwards.

import { type Bytes, type PutOptions, bytesOf, isImageError, readAll } from '@backing-image/core'
import * as assert from 'uvu/assert'
import { Bucket } from '../bucket.ts'
import { Budget } from '../budget.ts'
import type { S3Backend } from '../index.ts'
import { type Place, putStream } from '../multipart.ts'
import type { FakeS3 } from './fake.ts'
import type { Fault, Rule } from './faults.ts'
import { content } from './putting.ts'
import { outcome, prefix, settingsFor, told } from './store.ts'

export const partBytes: number = 16 * 1024

export interface Subject {
  server: FakeS3
  backend: S3Backend
  /** With parts so small that few bytes make many, and so few that five make segments. */
  place: Place & { tidying: Set<Promise<void>>; bucket: Bucket }
}

export interface Scenario {
  what: string
  before: Buffer | undefined
  /** What the key has when it succeeds; or fails, where `fails` says that it must. */
  after: Buffer | undefined
  fails?: 'already_exists'
  /** Resolves to bytes that were read, where it reads. */
  run: (subject: Subject, key: string, signal?: AbortSignal) => Promise<unknown>
  /** Whether it sends parts, which outwait an outage of minutes: only an abort ends that sooner. */
  hasParts?: boolean
  /** What it reads. */
  reads?: Buffer
}

export function openPlace(server: FakeS3, totalTimeoutMs: number): Subject['place'] {
  const bucket = new Bucket({ ...settingsFor(server), totalTimeoutMs })
  const plan = { partBytes, partsMax: 2 }
  return { bucket, budget: new Budget(64 * partBytes), plan, tidying: new Set() }
}

async function* inChunks(body: Buffer): Bytes {
  for (let at = 0; at < body.length; at += 5_000) yield body.subarray(at, at + 5_000)
}

function asked(signal: AbortSignal | undefined): PutOptions {
  return signal ? { signal } : {}
}

const old = content(999)
const small = content(3_000).fill('s', 0, 10)
const onePart = content(partBytes).fill('o', 0, 10)
const twoParts = content(2 * partBytes - 7).fill('t', 0, 10)
const segments = content(3 * partBytes - 5).fill('g', 0, 10)
const range = { start: 100, end: 20_000 }

export const scenarios: Scenario[] = [
  {
    what: 'a small put',
    before: undefined,
    after: small,
    run: ({ backend }, key) => backend.put(key, bytesOf(small)),
  },
  {
    what: 'a put of one part that replaces',
    before: old,
    after: onePart,
    run: ({ place }, key) => putStream(place, key, inChunks(onePart)),
  },
  {
    what: 'a put of two parts that replaces',
    before: old,
    after: twoParts,
    hasParts: true,
    run: ({ place }, key, signal) => putStream(place, key, inChunks(twoParts), asked(signal)),
  },
  {
    what: 'a put with segments',
    before: undefined,
    after: segments,
    hasParts: true,
    run: ({ place }, key, signal) => putStream(place, key, inChunks(segments), asked(signal)),
  },
  {
    what: 'an ifAbsent put',
    before: undefined,
    after: small,
    run: ({ backend }, key) => backend.put(key, bytesOf(small), { ifAbsent: true }),
  },
  {
    what: 'an ifAbsent put that comes late',
    before: old,
    after: old,
    fails: 'already_exists',
    run: ({ backend }, key) => backend.put(key, bytesOf(small), { ifAbsent: true }),
  },
  {
    what: 'a whole read',
    before: segments,
    after: segments,
    reads: segments,
    run: async ({ backend }, key) => await readAll(await backend.get(key)),
  },
  {
    what: 'a ranged read',
    before: segments,
    after: segments,
    reads: segments.subarray(range.start, range.end + 1),
    run: async ({ backend }, key) => await readAll(await backend.get(key, { range })),
  },
  {
    what: 'a scan',
    before: small,
    after: small,
    reads: small,
    run: async ({ backend }, key) => {
      const found: Uint8Array[] = []
      for await (const each of backend.scan(key.replace(/[^/]*$/, ''), new Map())) {
        if (each.stat.key === key && each.content) found.push(each.content)
      }
      return Buffer.concat(found)
    },
  },
  {
    what: 'a stat',
    before: old,
    after: old,
    run: ({ backend }, key) => backend.stat(key),
  },
  {
    what: 'a delete',
    before: old,
    after: undefined,
    run: ({ backend }, key) => backend.delete(key),
  },
]

export interface Trial {
  scenario: Scenario
  fault: Fault
  /** Which request of the operation fails, counted from 1; with `isLasting` those after it too. */
  index: number
  isLasting: boolean
  /** Aborts the operation so long after its fault. */
  abortAfterMs?: number
}

export interface Verdict {
  /** False when the operation has fewer requests. */
  wasReached: boolean
  error: unknown
  rule: Rule
  /** For messages. */
  what: string
}

let trials = 0

/** Runs the operation with its fault, and asserts what is true of every outcome. */
export async function attempt(subject: Subject, trial: Trial): Promise<Verdict> {
  const { server, place } = subject
  const { scenario, fault, index, isLasting, abortAfterMs } = trial
  trials += 1
  const name = `trial-${trials}`
  const key = `${name}/backing`
  const at = `${prefix}${key}`
  const find = (): Buffer | undefined => server.content(at)
  if (scenario.before) server.medium.put(at, scenario.before, {})
  const isOurs = new RegExp(`${name}[/~]`)
  const rule = server.on(
    {
      when: (seen) => isOurs.test(`${seen.key} ${seen.query.get('prefix') ?? ''}`),
      from: index,
      times: isLasting ? Infinity : 1,
    },
    fault,
  )
  const reason = new Error('stop')
  const controller = new AbortController()
  if (abortAfterMs !== undefined) {
    void rule.met.then(() => setTimeout(() => controller.abort(reason), abortAfterMs))
  }
  let read: unknown
  const error = await outcome(
    scenario.run(subject, key, controller.signal).then((result) => {
      read = result
    }),
  )
  rule.lift()
  await Promise.all(place.tidying)
  const kind = `${JSON.stringify(fault)}${isLasting ? ' and so do all after it' : ''}`
  const what = `${scenario.what}: request ${index} meets ${kind}: ${told(error)}`
  const found = find()
  const isWhole = same(found, scenario.before) || same(found, scenario.after)
  assert.ok(isWhole, `${what}: ${found?.length} bytes are left`)
  if (error === undefined) {
    assert.is(scenario.fails, undefined, `${what}: it succeeded`)
    assert.ok(same(found, scenario.after), `${what}: acknowledged, but ${found?.length} bytes`)
    const isExact = !scenario.reads || (Buffer.isBuffer(read) && read.equals(scenario.reads))
    assert.ok(isExact, `${what}: other bytes were read`)
  } else if (error !== reason) {
    assert.ok(isImageError(error), `${what}: no ImageError`)
    if (scenario.fails === undefined) {
      assert.is.not(error.code, 'already_exists', what)
      assert.is.not(error.code, 'not_found', what)
    }
  }
  return { wasReached: rule.hits > 0, error, rule, what }
}

function same(one: Buffer | undefined, other: Buffer | undefined): boolean {
  return one === other || (one !== undefined && other !== undefined && one.equals(other))
}
