// What is found of stores that lack something, and what a backend does about it.

import { bytesOf, isImageError, readAll } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { S3Backend } from './index.ts'
import { type Fault, FakeS3, type Matcher } from './testing/index.ts'
import { leftovers, outcome, settingsFor, told } from './testing/store.ts'

const tests = suite('s3: capabilities')

function onServer(test: (server: FakeS3) => Promise<void>): () => Promise<void> {
  return async () => {
    const server = await FakeS3.start()
    try {
      await test(server)
    } finally {
      await server.stop()
    }
  }
}

function levels({ findings }: S3Backend): Record<string, string> {
  return Object.fromEntries(findings.map(({ what, level }) => [what, level]))
}

tests(
  'racing writers hold their bodies back until the store has all their requests',
  onServer(async (server) => {
    let most = 0
    const watch = (): boolean => {
      most = Math.max(most, server.open('PutObject').length)
      return false
    }
    server.on({ operation: 'PutObject', when: watch }, { kind: 'lose' })
    await (await S3Backend.open(settingsFor(server))).close()
    assert.is(most, 8)
  }),
)

const inexclusive: [string, Matcher, Fault, RegExp][] = [
  ['refuses conditions', {}, { kind: 'refuse', status: 501, code: 'NotImplemented' }, /501/],
  ['ignores conditions', {}, { kind: 'ignore condition' }, /ignores/],
  ['checks them too early', {}, { kind: 'early condition' }, /8 racing writers/],
]

for (const [what, matcher, fault, expected] of inexclusive) {
  tests(
    `a store that ${what} is read, and written only by a single writer`,
    onServer(async (server) => {
      const when = ({ headers }: { headers: object }): boolean => 'if-none-match' in headers
      server.on({ operation: 'PutObject', when, ...matcher }, fault)
      const writer = await S3Backend.open({ ...settingsFor(server), singleWriter: true })
      assert.is(writer.writeRefusal, undefined)
      assert.is(levels(writer)['exclusive creation'], 'warn')
      const puts = [1, 2, 3, 4].map((each) =>
        outcome(writer.put('a/b', bytesOf(`${each}`), { ifAbsent: true })),
      )
      const losers = (await Promise.all(puts)).filter((error) => error !== undefined)
      assert.is(losers.length, 3)
      for (const error of losers) assert.ok(isImageError(error, 'already_exists'), told(error))

      const reader = await S3Backend.open(settingsFor(server))
      assert.is(levels(reader)['exclusive creation'], 'FAIL')
      assert.match(String(reader.writeRefusal), expected)
      assert.match(String(reader.writeRefusal), 'S3_SINGLE_WRITER=true')
      const before = server.count('PutObject', 'DeleteObject')
      const refused = [
        () => reader.put('a/c', bytesOf('x')),
        () => reader.delete('a/b'),
        () => reader.discard('x'),
      ]
      for (const verb of refused) {
        const error = await outcome(verb())
        assert.ok(isImageError(error, 'failed_precondition'), String(error))
        assert.is(error.reason, 'forbidden')
      }
      assert.is(server.count('PutObject', 'DeleteObject'), before)
      assert.is((await reader.stat('a/b')).size, 1)
      await Promise.all([writer.close(), reader.close()])
      assert.equal(leftovers(server), [])
    }),
  )
}

tests(
  'a store that can not copy parts, and one that ignores If-Match, are warned of',
  onServer(async (server) => {
    const refusal: Fault = { kind: 'refuse', status: 501, code: 'NotImplemented' }
    server.on({ operation: 'UploadPartCopy' }, refusal)
    server.on({ operation: 'GetObject' }, { kind: 'ignore condition' })
    const backend = await S3Backend.open(settingsFor(server))
    assert.is(levels(backend)['UploadPartCopy'], 'warn')
    assert.is(levels(backend)['If-Match'], 'warn')
    assert.is(backend.writeRefusal, undefined)
    await backend.close()
    assert.equal(leftovers(server), [])
  }),
)

tests(
  'a store without exclusive creation is asked twice before an object counts as absent',
  onServer(async (server) => {
    const when = ({ headers }: { headers: object }): boolean => 'if-none-match' in headers
    const rule = server.on(
      { operation: 'PutObject', when },
      { kind: 'refuse', status: 501, code: 'NotImplemented' },
    )
    const backend = await S3Backend.open({ ...settingsFor(server), singleWriter: true })
    await backend.put('a/b', bytesOf('there'))
    const missOnce = () =>
      server.on({ times: 1 }, { kind: 'refuse', status: 404, code: 'NoSuchKey' })
    missOnce()
    assert.is(String(await readAll(await backend.get('a/b'))), 'there')
    missOnce()
    assert.is((await backend.stat('a/b')).size, 5)
    assert.ok(isImageError(await outcome(backend.get('a/c')), 'not_found'))
    await backend.close()

    rule.lift()
    const sure = await S3Backend.open(settingsFor(server))
    missOnce()
    assert.ok(isImageError(await outcome(sure.get('a/b')), 'not_found'))
    await sure.close()
  }),
)

tests(
  'a stat of an absent key tells a lost bucket from a lost object',
  onServer(async (server) => {
    const backend = await S3Backend.open(settingsFor(server))
    assert.ok(isImageError(await outcome(backend.stat('a/b')), 'not_found'))
    server.on({}, { kind: 'refuse', status: 404, code: 'NoSuchBucket' })
    const verbs = [() => backend.stat('a/b'), () => backend.get('a/b'), () => backend.delete('a/b')]
    for (const verb of verbs) {
      const error = await outcome(verb())
      assert.ok(isImageError(error, 'failed_precondition'), String(error))
      assert.is(error.reason, 'storage_unavailable')
    }
    await backend.close()
  }),
)

tests.run()
