// How requests reach an S3 server, how their failures are told, and what an outage costs.

import {
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { isImageError, type ImageError } from '@backing-image/core'
import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Bucket, type BucketOptions } from './bucket.ts'
import { storeCodeOf } from './failure.ts'
import { FakeS3 } from './testing/index.ts'
import { outcome, settingsFor } from './testing/store.ts'

const tests = suite('s3: bucket')

function withBucket(
  test: (bucket: Bucket, server: FakeS3) => Promise<void>,
  options: Partial<BucketOptions> = {},
): () => Promise<void> {
  return async () => {
    const server = await FakeS3.start()
    const bucket = new Bucket({ ...settingsFor(server), totalTimeoutMs: 600, ...options })
    try {
      await test(bucket, server)
    } finally {
      bucket.close()
      await server.stop()
    }
  }
}

async function failureOf(work: Promise<unknown>): Promise<ImageError> {
  const error = await outcome(work)
  if (!isImageError(error)) throw new Error(`an ImageError was expected, not ${String(error)}`)
  return error
}

const answers: [status: number, code: string, expected: string, reason: string][] = [
  [403, 'AccessDenied', 'permission_denied', 'storage_unavailable'],
  [403, 'SignatureDoesNotMatch', 'permission_denied', 'storage_unavailable'],
  [401, 'Unauthorized', 'permission_denied', 'storage_unavailable'],
  [404, 'NoSuchKey', 'not_found', 'not_found'],
  [404, 'NoSuchUpload', 'not_found', 'not_found'],
  [404, 'NoSuchBucket', 'failed_precondition', 'storage_unavailable'],
  [301, 'PermanentRedirect', 'failed_precondition', 'storage_unavailable'],
  [400, 'AuthorizationHeaderMalformed', 'failed_precondition', 'storage_unavailable'],
  [400, 'EntityTooLarge', 'resource_exhausted', 'too_large'],
  [403, 'QuotaExceeded', 'resource_exhausted', 'no_space'],
  [507, 'InsufficientStorage', 'resource_exhausted', 'no_space'],
  [409, 'ConditionalRequestConflict', 'unavailable', 'storage_unavailable'],
  [412, 'PreconditionFailed', 'already_exists', 'already_exists'],
  [416, 'InvalidRange', 'out_of_range', 'range_not_satisfiable'],
  [429, 'TooManyRequests', 'unavailable', 'storage_unavailable'],
  [500, 'InternalError', 'unavailable', 'storage_unavailable'],
  [501, 'NotImplemented', 'unimplemented', 'internal'],
  [503, 'SlowDown', 'unavailable', 'storage_unavailable'],
  [418, 'Teapot', 'internal', 'internal'],
]

for (const [status, code, expected, reason] of answers) {
  const title = `${status} ${code} is ${expected}`
  const test = withBucket(
    async (bucket, server) => {
      server.on({ operation: 'GetObject' }, { kind: 'refuse', status, code })
      const get = bucket.send(new GetObjectCommand(bucket.at('a/b')), { what: 'read a/b' })
      const error = await failureOf(get)
      assert.is(error.code, expected)
      assert.is(error.reason, reason)
      assert.is(storeCodeOf(error), code)
      assert.match(error.message, `(${code} ${status})`)
      assert.not.match(error.message, server.secretAccessKey)
      // What will be the same the next time is not asked again.
      assert.is(server.count() > 1, expected === 'unavailable')
    },
    { totalTimeoutMs: 200 },
  )
  tests(title, test)
}

tests(
  'a passing failure is waited out, also one of a HEAD, which has no body',
  withBucket(async (bucket, server) => {
    server.on({ times: 2 }, { kind: 'refuse', status: 503, code: 'SlowDown' })
    const error = await failureOf(
      bucket.send(new HeadObjectCommand(bucket.at('a')), { what: 'look' }),
    )
    assert.is(error.code, 'not_found')
    assert.is(server.count(), 3)
  }),
)

tests(
  'a store that does not answer is unavailable in time, and an abort does not wait for that',
  withBucket(async (bucket, server) => {
    server.on({}, { kind: 'stall', when: 'before' })
    const startedAt = performance.now()
    const get = (signal?: AbortSignal): Promise<unknown> =>
      bucket.send(new GetObjectCommand(bucket.at('a')), { what: 'read a', signal })
    const error = await failureOf(get())
    assert.is(error.code, 'unavailable')
    assert.match(error.message, bucket.endpoint)
    assert.ok(performance.now() - startedAt < 5_000)
    const controller = new AbortController()
    const reason = new Error('leave')
    const other = new Bucket({ ...settingsFor(server), totalTimeoutMs: 60_000 })
    const command = new GetObjectCommand(other.at('a'))
    const left = outcome(other.send(command, { what: 'read a', signal: controller.signal }))
    controller.abort(reason)
    assert.is(await left, reason)
    other.close()
  }),
)

tests('in an outage only one request at a time waits, until the store is back', async () => {
  const server = await FakeS3.start()
  const bucket = new Bucket({ ...settingsFor(server), totalTimeoutMs: 600 })
  const get = (): Promise<ImageError> =>
    failureOf(bucket.send(new GetObjectCommand(bucket.at('a')), { what: 'read a' }))
  const rule = server.on({}, { kind: 'lose' })
  const lostAt = performance.now()
  // A slow machine has time for one attempt in a request, and takes several to know an outage.
  for (let error = await get(); !error.message.includes('is being tried'); error = await get()) {
    assert.is(error.code, 'unavailable')
    assert.ok(performance.now() - lostAt < 10_000, 'the outage is not noticed')
  }
  const asked = server.count()
  for (let times = 0; times < 100; times += 1) {
    assert.match((await get()).message, 'is being tried')
  }
  assert.is(server.count(), asked, 'the store was asked')
  rule.lift()
  const backAt = performance.now()
  while ((await get()).code !== 'not_found') {
    assert.ok(performance.now() - backAt < 10_000, 'not back in time')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  bucket.close()
  await server.stop()
})

tests(
  'large bodies are not hashed again, small ones are signed, and neither has a checksum or framing',
  withBucket(async (bucket, server) => {
    const put = async (sizeBytes: number): Promise<void> => {
      const command = new PutObjectCommand({ ...bucket.at('a'), Body: Buffer.alloc(sizeBytes) })
      await bucket.send(command, { what: 'put' })
    }
    await put(100)
    await put(3 * 1024 * 1024)
    const names = { ...bucket.at('a'), UploadId: 'none', PartNumber: 1 }
    const part = new UploadPartCommand({ ...names, Body: Buffer.alloc(100_000) })
    await outcome(bucket.send(part, { what: 'put a part' }))
    const hashes = server.seen.map(({ headers }) => headers['x-amz-content-sha256'])
    assert.match(String(hashes[0]), /^[0-9a-f]{64}$/)
    assert.equal(hashes.slice(1), ['UNSIGNED-PAYLOAD', 'UNSIGNED-PAYLOAD'])
    for (const { headers } of server.seen) {
      const words = Object.keys(headers).filter((name) =>
        /checksum|expect|trailer|encod/.test(name),
      )
      assert.equal(words, [])
    }
  }),
)

tests('a request goes through the proxy, unless the host needs none', async () => {
  const seen: string[] = []
  const proxy = createServer((request, response) => {
    seen.push(request.url ?? '')
    response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const httpProxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const options = { endpoint: 'http://store.invalid:9000', bucket: 'b', region: 'r', httpProxy }
  const bucket = new Bucket({ ...options, accessKey: 'a', secretKey: 's' })
  const head = bucket.send(new HeadObjectCommand(bucket.at('x')), { what: 'look' })
  assert.is((await failureOf(head)).code, 'not_found')
  assert.equal(seen, ['http://store.invalid:9000/b/x'])
  bucket.close()
  proxy.closeAllConnections()
  await new Promise((resolve) => proxy.close(resolve))
})

tests('nothing is said on stderr, whatever the version of Node', async () => {
  const file = new URL('bucket.js', import.meta.url).href
  const options = { endpoint: 'http://127.0.0.1:1', accessKey: 'a', secretKey: 's', region: 'r' }
  const script = `const { Bucket } = await import(${JSON.stringify(file)})
    new Bucket(${JSON.stringify({ ...options, bucket: 'b' })}).close()`
  const args = ['--input-type=module', '--eval', script]
  const { stderr } = await promisify(execFile)(process.execPath, args)
  assert.is(stderr, '')
})

tests.run()
