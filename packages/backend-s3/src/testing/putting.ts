// What the tests of the writer share: a place on the fake server, with parts so small that few
// bytes make many, and sources that take their memory back.

import type { Stat } from '@backing-image/core'
import { setImmediate as turn } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { Bucket } from '../bucket.ts'
import { Budget } from '../budget.ts'
import type { Place } from '../multipart.ts'
import { unfinished } from '../unfinished.ts'
import { FakeS3, type FakeS3Options } from './fake.ts'

export const partBytes: number = 64 * 1024
export const key = 'image-0123abcd/backing'

export interface Rig {
  server: FakeS3
  bucket: Bucket
  place: Place & { tidying: Set<Promise<void>> }
}

export function withRig(
  test: (rig: Rig) => Promise<void>,
  options: FakeS3Options = {},
): () => Promise<void> {
  return async (): Promise<void> => {
    const server = await FakeS3.start({ partMinBytes: partBytes, ...options })
    const { endpoint, region, accessKeyId: accessKey, secretAccessKey: secretKey } = server
    const settings = { endpoint, region, accessKey, secretKey, bucket: server.bucket }
    const bucket = new Bucket({ ...settings, prefix: 'store/' })
    const budget = new Budget(8 * partBytes)
    const tidying = new Set<Promise<void>>()
    const place = { bucket, budget, plan: { partBytes }, unclearMs: 300, tidying }
    try {
      await test({ server, bucket, place })
      assert.is(budget.usedBytes, 0, 'memory that was not given back')
    } finally {
      bucket.close()
      await server.stop()
    }
  }
}

/** Bytes that tell every position from its neighbours. */
export function content(sizeBytes: number): Buffer {
  const words = Uint32Array.from({ length: Math.ceil(sizeBytes / 4) }, (_, at) =>
    Math.imul(at + 1, 2654435761),
  )
  return Buffer.from(words.buffer, 0, sizeBytes)
}

export interface Watched extends AsyncIterable<Uint8Array> {
  returns: number
}

/** `body` in chunks of one memory that is overwritten with each; `end` is what happens after it. */
export function source(body: Buffer, end: () => Promise<void> | void = () => undefined): Watched {
  const memory = new Uint8Array(new SharedArrayBuffer(10_000))
  let offset = 0
  const watched: Watched = {
    returns: 0,
    [Symbol.asyncIterator]: () => ({
      async next() {
        memory.fill(0xee)
        await turn()
        const piece = body.subarray(offset, offset + memory.length)
        offset += piece.length
        if (piece.length === 0) {
          await end()
          return { done: true, value: undefined }
        }
        memory.set(piece)
        return { done: false, value: memory.subarray(0, piece.length) }
      },
      async return() {
        watched.returns += 1
        return { done: true, value: undefined }
      },
    }),
  }
  return watched
}

/** What `work` rejects with. */
export async function failure(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
  } catch (error) {
    return error
  }
  throw new Error('it succeeded')
}

export async function assertNothingLeft({ server, bucket, place }: Rig): Promise<void> {
  await Promise.all(place.tidying)
  const left: string[] = []
  for await (const { id } of unfinished(bucket)) left.push(id)
  assert.equal(left, [])
  assert.equal([...server.medium.uploads.keys()], [])
  assert.equal(server.open('UploadPart', 'UploadPartCopy'), [])
}

export function assertStored({ server }: Rig, body: Buffer, stat: Stat): void {
  assert.is(stat.key, key)
  assert.is(stat.size, body.length)
  assert.ok(server.content(`store/${key}`)?.equals(body), 'other bytes were stored')
  assert.is(stat.tag, `"${server.medium.object(`store/${key}`).etag}"`)
}

export function refusal(status: number): { kind: 'refuse'; status: number; code: string } {
  return { kind: 'refuse', status, code: status === 403 ? 'AccessDenied' : 'InternalError' }
}
