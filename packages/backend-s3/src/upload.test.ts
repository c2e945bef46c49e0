// The last step of an upload: what happened is found out, never guessed.

import { isImageError } from '@backing-image/core'
import { setImmediate as turn } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { putStream } from './multipart.ts'
import type { Fault } from './testing/index.ts'
import { assertNothingLeft, assertStored, content, failure, key } from './testing/putting.ts'
import { partBytes, refusal, source, withRig } from './testing/putting.ts'

const uploads = suite('s3: the end of an upload')
const operation = 'CompleteMultipartUpload'
const body: Buffer = content(2 * partBytes + 1)

const unclear: Record<string, Fault> = {
  'that was done, and answered 500': { kind: 'deny', status: 500, code: 'InternalError' },
  'that was done, and whose answer was lost': { kind: 'lose' },
  'that was done, and answered 200 with an error': {
    kind: 'error in 200',
    code: 'InternalError',
    when: 'after',
  },
  'that was done, and whose answer was cut': { kind: 'cut answer', afterBytes: 20 },
  'that was not done, and answered 200 with an error': {
    kind: 'error in 200',
    code: 'InternalError',
    when: 'before',
  },
  'that was not done, and answered 503': { kind: 'refuse', status: 503, code: 'SlowDown' },
  'that was not done, and answered that there is no such upload': {
    kind: 'refuse',
    status: 404,
    code: 'NoSuchUpload',
  },
}

for (const completesAgain of [false, true]) {
  const store = completesAgain ? 'takes it twice' : 'takes it once'
  for (const [what, fault] of Object.entries(unclear)) {
    uploads(
      `a Complete ${what}, on a store that ${store}, is a success`,
      withRig(
        async (rig) => {
          // The old object must not be taken for the new one.
          await putStream(rig.place, key, source(content(3 * partBytes)))
          rig.server.on({ operation, times: 1 }, fault)
          assertStored(rig, body, await putStream(rig.place, key, source(body)))
          await assertNothingLeft(rig)
        },
        { completesAgain },
      ),
    )
  }
}

uploads(
  'a Complete that was done but always denied is a success, when the object says so',
  withRig(async (rig) => {
    rig.server.on({ operation }, { kind: 'deny', status: 500, code: 'InternalError' })
    assertStored(rig, body, await putStream(rig.place, key, source(body)))
    await assertNothingLeft(rig)
  }),
)

uploads(
  'what stays unclear is unavailable, and the upload is not touched',
  withRig(async (rig) => {
    const { server, place } = rig
    await putStream(place, key, source(content(10)))
    const rule = server.on({ operation }, refusal(500))
    const error = await failure(putStream(place, key, source(body)))
    assert.ok(isImageError(error, 'unavailable'), String(error))
    assert.match(error.message, 'may have happened')
    assert.ok(rule.hits > 1)
    assert.is(server.count('AbortMultipartUpload'), 0)
    assert.is(server.medium.uploads.size, 1)
    assert.ok(server.content(`store/${key}`)?.equals(content(10)))
  }),
)

uploads(
  'a look that fails settles nothing: it is unavailable, though it was done',
  withRig(async ({ server, place }) => {
    server.on({ operation }, { kind: 'lose' })
    server.on({ operation: 'HeadObject' }, refusal(403))
    const error = await failure(putStream(place, key, source(body)))
    assert.ok(isImageError(error, 'unavailable'), String(error))
    assert.is(server.count('AbortMultipartUpload'), 0)
  }),
)

uploads(
  'a Complete that was answered with success is one, whatever comes of the look',
  withRig(async (rig) => {
    rig.server.on({ operation: 'HeadObject' }, refusal(403))
    for (const each of [body, content(5)]) {
      assertStored(rig, each, await putStream(rig.place, key, source(each)))
    }
    assert.is(rig.server.count(operation), 1)
    await assertNothingLeft(rig)
  }),
)

uploads(
  'a refused Complete is told as it is, and leaves nothing',
  withRig(async (rig) => {
    const { server, place } = rig
    await putStream(place, key, source(content(10)))
    const rule = server.on({ operation }, refusal(403))
    const error = await failure(putStream(place, key, source(body)))
    assert.ok(isImageError(error, 'permission_denied'), String(error))
    assert.is(rule.hits, 1)
    assert.ok(server.content(`store/${key}`)?.equals(content(10)))
    await assertNothingLeft(rig)
  }),
)

uploads(
  'an abort does not cut off a Complete: the store finishes, and the put has rejected',
  withRig(async (rig) => {
    const { server, place } = rig
    const controller = new AbortController()
    const rule = server.on({ operation }, { kind: 'stall', when: 'before' })
    const put = failure(putStream(place, key, source(body), { signal: controller.signal }))
    while (rule.hits === 0) await turn()
    controller.abort()
    assert.is(await put, controller.signal.reason)
    assert.is(server.open(operation).length, 1)
    rule.lift()
    await assertNothingLeft(rig)
    assert.is(server.count('AbortMultipartUpload'), 0)
  }),
)

uploads(
  'an upload that somebody else aborted is unavailable, and not "not found"',
  withRig(async (rig) => {
    const { server, place } = rig
    server.on(
      {
        operation: 'UploadPart',
        when: ({ query }) => {
          if (query.get('partNumber') === '2') server.medium.uploads.clear()
          return false
        },
      },
      refusal(500),
    )
    const error = await failure(putStream(place, key, source(body)))
    assert.ok(isImageError(error, 'unavailable'), String(error))
    assert.match(error.message, 'lifecycle')
    await assertNothingLeft(rig)
  }),
)

uploads(
  'an object that lost bytes in the store is data_loss',
  withRig(async ({ server, place }) => {
    server.on({ operation: 'HeadObject' }, { kind: 'wrong length', byBytes: -1 })
    const error = await failure(putStream(place, key, source(body)))
    assert.ok(isImageError(error, 'data_loss'), String(error))
  }),
)

uploads.run()
