// What has a limit: time, memory, requests, and what others are told or lose.

import { type Bytes, bytesOf, isImageError } from '@backing-image/core'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { S3Backend } from './index.ts'
import type { Fault } from './testing/index.ts'
import { content } from './testing/putting.ts'
import { leftovers, outcome, prefix, settingsFor, sweep, told, withStore } from './testing/store.ts'

const bounds = suite('s3: limits')
const mebibyte = 1024 * 1024
const key = 'image-0123abcd/backing'
const at = `${prefix}${key}`

async function* endless(chunk: Buffer): Bytes {
  for (;;) {
    yield chunk
    await new Promise(setImmediate)
  }
}

bounds(
  'a store that does not answer is unavailable within the bound, for every verb',
  withStore(
    async ({ server, backend }) => {
      server.medium.put(at, Buffer.from('x'), {})
      server.on({}, { kind: 'stall', when: 'before' })
      const verbs: Record<string, () => Promise<unknown>> = {
        stat: () => backend.stat(key),
        get: () => backend.get(key),
        put: () => backend.put(key, bytesOf('y')),
        exclusive: () => backend.put('x/2.json', bytesOf('y'), { ifAbsent: true }),
        delete: () => backend.delete(key),
        list: async () => {
          for await (const { key: found } of backend.list('')) assert.unreachable(found)
        },
      }
      const failing = Object.entries(verbs).map(async ([verb, run]) => {
        const startedAtMs = performance.now()
        const error = await outcome(run())
        assert.ok(isImageError(error, 'unavailable'), `${verb}: ${told(error)}`)
        return performance.now() - startedAtMs
      })
      const longestMs = Math.max(...(await Promise.all(failing)))
      assert.ok(longestMs < 5_000, `${longestMs} ms`)
      // Now it is known to be down: nobody waits.
      const startedAtMs = performance.now()
      assert.ok(isImageError(await outcome(backend.stat(key)), 'unavailable'))
      assert.ok(performance.now() - startedAtMs < 1_000)
      server.calm()
      while (isImageError(await outcome(backend.stat(key)), 'unavailable')) await pause(50)
      assert.is((await backend.stat(key)).size, 1)
    },
    { backend: { totalTimeoutMs: 400 } },
  ),
)

bounds(
  'throttling is waited for with pauses, and not for ever',
  withStore(
    async ({ server, backend }) => {
      server.medium.put(at, Buffer.from('x'), {})
      const busy: Fault = { kind: 'refuse', status: 503, code: 'SlowDown' }
      server.on({ operation: 'HeadObject', times: 3 }, busy)
      assert.is((await backend.stat(key)).size, 1)
      const rule = server.on({ operation: 'HeadObject' }, busy)
      const error = await outcome(backend.stat(key))
      assert.ok(isImageError(error, 'unavailable'), told(error))
      assert.ok(rule.hits >= 2 && rule.hits < 30, `${rule.hits} requests`)
    },
    { backend: { totalTimeoutMs: 1_500 } },
  ),
)

bounds(
  'an abort of a large put closes the connections of all its parts at the store',
  withStore(async ({ server, backend }) => {
    server.on({ operation: 'UploadPart' }, { kind: 'stall', when: 'before' })
    const reason = new Error('stop')
    const controller = new AbortController()
    const chunk = content(mebibyte)
    const put = outcome(backend.put(key, endless(chunk), { signal: controller.signal }))
    while (server.open('UploadPart').length < 2) await pause(5)
    const startedAtMs = performance.now()
    controller.abort(reason)
    assert.is(await put, reason)
    assert.ok(performance.now() - startedAtMs < 1_000, 'it did not reject at once')
    while (leftovers(server).length > 0) await pause(5)
    const parts = server.seen.filter(({ operation }) => operation === 'UploadPart')
    assert.ok(parts.every(({ end }) => end === 'left'))
    assert.is(server.content(at), undefined)
  }),
)

bounds(
  'secrets are in no error, whatever goes wrong',
  withStore(
    async ({ server, backend }) => {
      const errors: unknown[] = []
      const faults: Fault[] = [
        { kind: 'refuse', status: 403, code: 'AccessDenied' },
        { kind: 'refuse', status: 403, code: 'SignatureDoesNotMatch' },
        { kind: 'refuse', status: 500, code: 'InternalError' },
        { kind: 'lose' },
        { kind: 'stall', when: 'before' },
      ]
      for (const fault of faults) {
        server.calm()
        server.on({}, fault)
        errors.push(
          await outcome(backend.stat(key)),
          await outcome(backend.get(key)),
          await outcome(backend.put(key, bytesOf('x'))),
          await outcome(backend.put(key, bytesOf('x'), { ifAbsent: true })),
          await outcome(S3Backend.open({ ...settingsFor(server), totalTimeoutMs: 200 })),
        )
      }
      errors.push(
        await outcome(S3Backend.open({ ...settingsFor(server), endpoint: 'http://[::1]:1' })),
      )
      const { secretAccessKey } = server
      for (const error of errors) {
        assert.ok(isImageError(error), told(error))
        for (const text of [
          error.message,
          String(error.stack),
          JSON.stringify(error),
          JSON.stringify(error.cause),
          inspect(error, { depth: 20, getters: true }),
        ]) {
          assert.not.match(text ?? '', secretAccessKey)
          assert.not.match(text ?? '', /Signature=[0-9a-f]{64}/)
        }
      }
      const shown = inspect(backend, { depth: 20, showHidden: true })
      assert.not.match(shown, secretAccessKey)
      assert.not.match(JSON.stringify(backend), secretAccessKey)
    },
    { backend: { totalTimeoutMs: 200 } },
  ),
)

bounds(
  '403 on HEAD is denied, 404 is absent, and 5xx is neither',
  withStore(
    async ({ server, backend }) => {
      const codes: [number, string][] = [
        [403, 'permission_denied'],
        [404, 'not_found'],
        [500, 'unavailable'],
        [503, 'unavailable'],
      ]
      server.medium.put(at, Buffer.from('x'), {})
      for (const [status, code] of codes) {
        for (const operation of ['HeadObject', 'GetObject'] as const) {
          const rule = server.on({ operation }, { kind: 'refuse', status, code: 'Whatever' })
          const error = await outcome(
            operation === 'HeadObject' ? backend.stat(key) : backend.get(key),
          )
          assert.is(isImageError(error) && error.code, code, `${status} on ${operation}`)
          rule.lift()
        }
      }
    },
    { backend: { totalTimeoutMs: 300 } },
  ),
)

bounds(
  'foreign objects and uploads are not shown, not swept, and not in the way',
  withStore(async ({ server, backend }) => {
    const foreign = [
      'other/thing',
      `${prefix}_hidden`,
      `${prefix}a folder/with spaces`,
      `${prefix}folder/`,
      `${prefix}.catalog`,
      `${prefix}.other/file`,
      `${prefix}.tmp/somebody`,
      `${prefix}.tmp/0123456789abcdef/x/0/more`,
      `${prefix}a//b`,
      `${prefix}ü/&<>"'`,
      'store',
      'store2/a/key',
    ]
    for (const name of foreign) {
      server.medium.put(name, Buffer.from(name), {})
      server.medium.begin(name, {})
    }
    await backend.put(key, bytesOf('ours'))
    const keys: string[] = []
    for await (const stat of backend.list('')) keys.push(stat.key)
    assert.equal(keys, [key])
    const scanned: string[] = []
    for await (const { stat } of backend.scan('', new Map())) scanned.push(stat.key)
    assert.equal(scanned, [key])
    for await (const { id } of backend.unfinished()) assert.unreachable(`${id} is shown`)
    await sweep(backend)
    const foreignUploads = [...server.medium.uploads.values()]
    for (const { key: name, uploadId } of foreignUploads) {
      for (const id of [name, `${name}?upload=${uploadId}`, uploadId]) {
        await outcome(backend.discard(id.startsWith(prefix) ? id.slice(prefix.length) : id))
      }
    }
    await backend.delete(key)
    assert.equal([...server.medium.objects.keys()].toSorted(), foreign.toSorted())
    assert.is(server.medium.uploads.size, foreign.length)
  }),
)

bounds(
  'a list of 10,000 is ten requests, and only what changed is read again',
  withStore(async ({ server, backend }) => {
    for (let number = 0; number < 10_000; number += 1) {
      const name = `${prefix}.catalog/image-${number}/1.json`
      server.medium.put(name, Buffer.from(`{"number":${number}}`), {})
    }
    const before = server.count()
    let count = 0
    const known = new Map<string, string>()
    for await (const { key: found, tag } of backend.list('.catalog/')) {
      known.set(found, tag)
      count += 1
    }
    assert.is(count, 10_000)
    assert.is(server.count() - before, 10)
    server.medium.put(`${prefix}.catalog/image-77/1.json`, Buffer.from('changed'), {})
    const contents: string[] = []
    for await (const { content: bytes } of backend.scan('.catalog/', known)) {
      if (bytes) contents.push(Buffer.from(bytes).toString())
    }
    assert.equal(contents, ['changed'])
    assert.is(server.count() - before, 21)
  }),
)

bounds(
  'a scan whose reads are cut, or fall silent, has every content or an error',
  withStore(
    async ({ server, backend }) => {
      for (let number = 0; number < 20; number += 1) {
        server.medium.put(`${prefix}s/${number}`, content(9_000), {})
      }
      server.on(
        { operation: 'GetObject', from: 3, times: 5 },
        { kind: 'cut answer', afterBytes: 99 },
      )
      let count = 0
      for await (const { content: bytes } of backend.scan('s/', new Map())) {
        assert.ok(bytes && Buffer.from(bytes).equals(content(9_000)))
        count += 1
      }
      assert.is(count, 20)
    },
    { backend: { totalTimeoutMs: 2_000 } },
  ),
)

bounds(
  'eight endless puts against a slow store hold no more memory than their budget',
  withStore(async ({ server, backend }) => {
    server.on({ operation: 'UploadPart' }, { kind: 'stall', when: 'before' })
    const reason = new Error('enough')
    const controller = new AbortController()
    const { signal } = controller
    // One chunk for all: what the puts hold is theirs.
    const chunk = content(mebibyte)
    const pulled = { bytes: 0 }
    async function* counted(): Bytes {
      for await (const each of endless(chunk)) {
        pulled.bytes += each.length
        yield each
      }
    }
    const puts = Array.from({ length: 8 }, (_, number) =>
      outcome(backend.put(`m/${number}`, counted(), { signal })),
    )
    // Until they have been stuck for a while.
    const leastBytes = 8 * 8 * mebibyte
    let lastBytes = -1
    while (lastBytes !== pulled.bytes || lastBytes < leastBytes) {
      lastBytes = pulled.bytes
      await pause(300)
    }
    // One buffer of 8 MiB for each, 24 MiB that all share, and what each has in its hand.
    const mostBytes = (8 * 8 + 24 + 8 * 2) * mebibyte
    assert.ok(lastBytes <= mostBytes, `${lastBytes / mebibyte} MiB are held`)
    controller.abort(reason)
    for (const error of await Promise.all(puts)) assert.is(error, reason)
    while (leftovers(server).length > 0) await pause(10)
  }),
)

bounds.run()
