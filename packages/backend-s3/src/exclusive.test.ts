// Creating exclusively when answers are lost: what is one's own is told from what is another's.

import { bytesOf, isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Fault } from './testing/index.ts'
import { type Store, outcome, prefix, withStore } from './testing/store.ts'

const tests = suite('s3: exclusive')

const test = (run: (store: Store) => Promise<void>): (() => Promise<void>) =>
  withStore(run, { backend: { totalTimeoutMs: 1_500 } })
const put = { operation: 'PutObject' } as const
const unclear: Fault[] = [
  { kind: 'lose' },
  { kind: 'deny', status: 500, code: 'InternalError' },
  { kind: 'deny', status: 503, code: 'SlowDown' },
  // As a proxy that sends a request twice and passes the second answer on.
  { kind: 'deny', status: 412, code: 'PreconditionFailed' },
  { kind: 'deny', status: 409, code: 'ConditionalRequestConflict' },
]

for (const fault of unclear) {
  const what = 'code' in fault ? `${fault.kind} ${fault.code}` : fault.kind
  tests(
    `a put that happened although the answer says otherwise is a success: ${what}`,
    test(async ({ server, backend }) => {
      server.on({ ...put, times: 1 }, fault)
      const stat = await backend.put('a/b', bytesOf('own'), { ifAbsent: true })
      assert.is((await backend.stat('a/b')).tag, stat.tag)
      assert.is(String(server.content(`${prefix}a/b`)), 'own')
    }),
  )
  tests(
    `a put that lost stays lost, whatever happens to its answer: ${what}`,
    test(async ({ server, backend }) => {
      await backend.put('a/b', bytesOf('first'), { ifAbsent: true })
      server.on({ ...put, times: 1 }, fault)
      const error = await outcome(backend.put('a/b', bytesOf('late'), { ifAbsent: true }))
      assert.ok(isImageError(error, 'already_exists'), String(error))
      assert.is(String(server.content(`${prefix}a/b`)), 'first')
    }),
  )
}

tests(
  'a put that did not happen is sent again, with the same id and condition',
  test(async ({ server, backend }) => {
    const before = server.seen.length
    server.on({ ...put, times: 2 }, { kind: 'cut request', afterBytes: 1 })
    await backend.put('a/b', bytesOf('own'), { ifAbsent: true })
    const puts = server.seen.slice(before).filter(({ operation }) => operation === 'PutObject')
    assert.is(puts.length, 3)
    assert.is(new Set(puts.map(({ headers }) => headers['x-amz-meta-write-id'])).size, 1)
    for (const { headers } of puts) assert.is(headers['if-none-match'], '*')
  }),
)

tests(
  'what stays unclear is unavailable, and says that it may have happened',
  test(async ({ server, backend }) => {
    server.on(put, { kind: 'lose' })
    server.on({ operation: 'HeadObject' }, { kind: 'refuse', status: 500, code: 'InternalError' })
    const startedAt = performance.now()
    const error = await outcome(backend.put('a/b', bytesOf('own'), { ifAbsent: true }))
    assert.ok(isImageError(error, 'unavailable'), String(error))
    assert.match(error.message, 'may have happened')
    assert.ok(performance.now() - startedAt < 10_000)
    assert.is(String(server.content(`${prefix}a/b`)), 'own')
  }),
)

tests(
  'a refusal is told as it is, and nothing is looked up or repeated',
  test(async ({ server, backend }) => {
    server.on(put, { kind: 'refuse', status: 403, code: 'AccessDenied' })
    const before = server.seen.length
    const error = await outcome(backend.put('a/b', bytesOf('own'), { ifAbsent: true }))
    assert.ok(isImageError(error, 'permission_denied'), String(error))
    assert.is(server.seen.length, before + 1)
  }),
)

tests.run()
