// What opening a store finds out about servers that call themselves S3, and what it then allows.

import { bytesOf, isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { S3Backend } from './index.ts'
import { type Fault, FakeS3, type Matcher } from './testing/index.ts'
import { leftovers, outcome, settingsFor, told } from './testing/store.ts'

const opening = suite('s3: what opening a store finds')

async function withServer(test: (server: FakeS3) => Promise<void>): Promise<void> {
  const server = await FakeS3.start()
  try {
    await test(server)
  } finally {
    await server.stop()
  }
}

async function opened(
  server: FakeS3,
  test: (backend: S3Backend) => Promise<void>,
  options: { singleWriter?: boolean; totalTimeoutMs?: number } = {},
): Promise<void> {
  const backend = await S3Backend.open({ ...settingsFor(server), ...options })
  try {
    await test(backend)
  } finally {
    await backend.close()
  }
}

function level(backend: S3Backend, what: string): string | undefined {
  return backend.findings.find((finding) => finding.what === what)?.level
}

opening('a store that keeps its promises is writable, and keeps nothing of the trial', () =>
  withServer(async (server) => {
    await opened(server, async (backend) => {
      assert.is(backend.writeRefusal, undefined)
      assert.equal(
        backend.findings.filter((finding) => finding.level !== 'ok'),
        [],
      )
    })
    assert.equal([...server.medium.objects.keys()], [])
    assert.equal(leftovers(server), [])
    assert.ok(server.count() < 90, `${server.count()} requests`)
  }),
)

const conditional: Matcher = {
  operation: 'PutObject',
  when: ({ headers }) => headers['if-none-match'] !== undefined,
}

const unsafe: Record<string, Fault> = {
  'a store that checks the condition before the body has come': { kind: 'early condition' },
  'a store that ignores the condition': { kind: 'ignore condition' },
  'a store that answers 501': { kind: 'refuse', status: 501, code: 'NotImplemented' },
  'a store that answers 501 before the body': {
    kind: 'refuse',
    status: 501,
    code: 'NotImplemented',
    isEarly: true,
  },
}

for (const [what, fault] of Object.entries(unsafe)) {
  opening(`${what} is found out: it is read, and not written`, () =>
    withServer(async (server) => {
      server.medium.put('store/a/key', Buffer.from('readable'), {})
      server.on(conditional, fault)
      await opened(server, async (backend) => {
        assert.is(level(backend, 'exclusive creation'), 'FAIL')
        assert.match(backend.writeRefusal ?? '', 'S3_SINGLE_WRITER=true')
        assert.is((await backend.stat('a/key')).size, 8)
        const before = server.count('PutObject', 'DeleteObject')
        for (const ifAbsent of [true, false]) {
          const error = await outcome(backend.put('a/other', bytesOf('x'), { ifAbsent }))
          assert.ok(isImageError(error, 'failed_precondition'), told(error))
        }
        assert.ok(isImageError(await outcome(backend.delete('a/key')), 'failed_precondition'))
        assert.is(server.count('PutObject', 'DeleteObject'), before, 'a request was sent')
      })
      assert.equal([...server.medium.objects.keys()], ['store/a/key'])
      assert.equal(leftovers(server), [])
    }),
  )

  opening(`${what} is written by a single writer, and still exclusively within it`, () =>
    withServer(async (server) => {
      server.on(conditional, fault)
      await opened(
        server,
        async (backend) => {
          assert.is(level(backend, 'exclusive creation'), 'warn')
          assert.is(backend.writeRefusal, undefined)
          for (let round = 0; round < 3; round += 1) {
            const key = `race/${round}`
            const outcomes = await Promise.all(
              ['a', 'b', 'c', 'd'].map((body) =>
                outcome(backend.put(key, bytesOf(body), { ifAbsent: true })),
              ),
            )
            const losers = outcomes.filter((error) => isImageError(error, 'already_exists'))
            assert.is(losers.length, 3)
            const winner = outcomes.indexOf(undefined)
            assert.is(server.content(`store/${key}`)?.toString(), 'abcd'[winner])
          }
        },
        { singleWriter: true },
      )
    }),
  )
}

opening('a store that is busy during the trial is not called unsafe', () =>
  withServer(async (server) => {
    const busy: Fault = { kind: 'refuse', status: 503, code: 'SlowDown' }
    let count = 0
    server.on({ ...conditional, when: () => (count += 1) % 4 === 0 }, busy)
    server.on({ operation: 'PutObject', from: 9 }, { kind: 'lose' })
    await opened(server, async (backend) => {
      assert.is(backend.writeRefusal, undefined)
      assert.is(level(backend, 'exclusive creation'), 'ok')
    })
    assert.equal(leftovers(server), [])
  }),
)

opening(
  'a connection that is cut in the trial is unavailable or not seen, and is never a verdict',
  () =>
    withServer(async (server) => {
      let reached = 0
      for (let from = 1; from <= 8; from += 1) {
        server.calm()
        const rule = server.on(
          { operation: 'GetObject', from },
          { kind: 'cut answer', afterBytes: 1 },
        )
        const error = await outcome(
          opened(server, async (backend) => {
            assert.is(backend.writeRefusal, undefined)
            assert.is(level(backend, 'range reads'), 'ok')
          }),
        )
        assert.ok(error === undefined || isImageError(error, 'unavailable'), told(error))
        reached += rule.hits
      }
      assert.ok(reached >= 6, `only ${reached} reads were cut`)
      assert.equal(leftovers(server), [])
    }),
)

opening('a key that may only read opens the store for reading', () =>
  withServer(async (server) => {
    server.medium.put('store/a/key', Buffer.from('readable'), {})
    const denied: Fault = { kind: 'refuse', status: 403, code: 'AccessDenied' }
    server.on({ when: ({ method }) => method !== 'GET' && method !== 'HEAD' }, denied)
    await opened(server, async (backend) => {
      assert.is.not(backend.writeRefusal, undefined)
      assert.is(level(backend, 'permissions'), 'FAIL')
      assert.is((await backend.stat('a/key')).size, 8)
    })
  }),
)

opening('a store without UploadPartCopy is warned of, and written', () =>
  withServer(async (server) => {
    const refused: Fault = { kind: 'refuse', status: 501, code: 'NotImplemented' }
    server.on({ operation: 'UploadPartCopy' }, refused)
    await opened(server, async (backend) => {
      assert.is(level(backend, 'UploadPartCopy'), 'warn')
      assert.is(backend.writeRefusal, undefined)
    })
    assert.equal(leftovers(server), [])
  }),
)

opening('wrong keys, a missing bucket and an endpoint that is down each say what to correct', () =>
  withServer(async (server) => {
    const settings = { ...settingsFor(server), totalTimeoutMs: 300 }
    const wrongKey = await outcome(S3Backend.open({ ...settings, accessKey: 'WRONG' }))
    assert.ok(isImageError(wrongKey, 'permission_denied'), told(wrongKey))
    assert.match(wrongKey.message, 'S3_ACCESS_KEY')
    const noBucket = await outcome(S3Backend.open({ ...settings, bucket: 'missing' }))
    assert.ok(isImageError(noBucket, 'failed_precondition'), told(noBucket))
    assert.match(noBucket.message, 'S3_BUCKET')
    server.on({}, { kind: 'stall', when: 'before' })
    const startedAtMs = performance.now()
    const hung = await outcome(S3Backend.open(settings))
    assert.ok(isImageError(hung, 'unavailable'), told(hung))
    assert.ok(performance.now() - startedAtMs < 5_000)
    await server.stop()
    const down = await outcome(S3Backend.open(settings))
    assert.ok(isImageError(down, 'unavailable'), told(down))
  }),
)

opening.run()
