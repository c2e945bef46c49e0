// Of the managers that sync one image only some are served at a time, and nobody else is held up.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { Hono } from 'hono'
import { ImageError } from '@backing-image/core'
import { rawImage } from '@backing-image/core/testing'
import type { Env } from './front.ts'
import { ErrorWithHeaders } from './problem.ts'
import { SyncSenders, inSync } from './sync-senders.ts'
import { type Serving, ask, put, serving } from './testing/serving.ts'

const senders = suite('sync senders')

const lingerMs = 30_000

/** A clock that a test moves on. */
function clocked(syncsMax: number) {
  const clock = { ms: 1_000_000 }
  return { clock, senders: new SyncSenders(syncsMax, () => clock.ms) }
}

/** What a further sync is told to wait, in seconds. */
function refused(work: () => unknown): number {
  try {
    work()
  } catch (error) {
    assert.instance(error, ErrorWithHeaders)
    if (!(error instanceof ErrorWithHeaders)) throw error
    assert.is(error.reason, 'too_many_requests')
    return Number(error.headers['Retry-After'])
  }
  throw new Error('it was let in')
}

senders('so many ids are let in, each with any number of requests, and no further one', () => {
  const { senders: three } = clocked(3)
  for (const id of ['a', 'b', 'c', 'a', 'b', 'c', 'a']) three.enter('0001', id)
  assert.is(
    refused(() => three.enter('0001', 'd')),
    5,
  )
  three.enter('0001', 'b')
  three.enter('0002', 'd')
})

senders('an id is active until 30 s after the last of its requests', () => {
  const { clock, senders: one } = clocked(1)
  const first = one.enter('0001', 'a')
  const second = one.enter('0001', 'a')
  clock.ms += 10 * lingerMs
  first()
  clock.ms += 2 * lingerMs
  refused(() => one.enter('0001', 'b'))
  second()
  clock.ms += lingerMs - 1
  refused(() => one.enter('0001', 'b'))
  clock.ms += 1
  one.enter('0001', 'b')()
  refused(() => one.enter('0001', 'a'))
})

senders('a further request keeps an id active, and an end that is told twice counts once', () => {
  const { clock, senders: one } = clocked(1)
  const first = one.enter('0001', 'a')
  first()
  clock.ms += lingerMs - 1
  const second = one.enter('0001', 'a')
  first()
  clock.ms += 2 * lingerMs
  refused(() => one.enter('0001', 'b'))
  second()
  clock.ms += lingerMs
  one.enter('0001', 'b')
})

senders('who is refused is told when a place may be free, and takes none', () => {
  const { clock, senders: two } = clocked(2)
  two.enter('0001', 'a')
  const leave = two.enter('0001', 'b')
  leave()
  const waits = [27_500, 1_000, 1_400].map((ms) => {
    clock.ms += ms
    return refused(() => two.enter('0001', 'c'))
  })
  // The time until b is over, but never longer than the usual.
  assert.equal(waits, [3, 2, 1])
  clock.ms += 100
  two.enter('0001', 'c')
  refused(() => two.enter('0001', 'b'))
})

senders('images that nobody syncs any more are forgotten', () => {
  const { clock, senders: one } = clocked(1)
  const leaving = Array.from({ length: 500 }, (_, index) => one.enter(`${index}`, 'a'))
  assert.is(one.size, 500)
  for (const leave of leaving.slice(1)) leave()
  clock.ms += 2 * lingerMs
  one.enter('new', 'a')
  assert.is(one.size, 2, 'the one that is being sent, and the new one')
})

/** A server with an image. */
async function sending(claim: (server: Serving, paths: string[]) => Promise<void>): Promise<void> {
  // Nothing here is about silence.
  const server = await serving({ syncSendersMax: 2, idleTimeoutMs: 60_000 })
  try {
    const { uuid } = await put(server, 'ubuntu', rawImage())
    const resource = '/v1/backing-images/ubuntu'
    await claim(server, [
      `${resource}/download`,
      `${resource}/blocks`,
      `${resource}/blocks?format=binary`,
      `/files/ubuntu-${uuid}/-/ubuntu-1.img`,
    ])
  } finally {
    await server.close()
  }
}

senders('a third sync is 429 wherever bytes or index are read, others and no syncs are not', () =>
  sending(async (server, paths) => {
    const get = (path: string, id?: string, method = 'GET') =>
      ask(server, method, path, { headers: id === undefined ? {} : { 'x-sync-id': id } })
    for (const path of paths) {
      assert.is((await get(path, 'one')).status, 200)
      assert.is((await get(path, 'two:2._-')).status, 200)
      for (const method of ['GET', 'HEAD']) {
        const third = await get(path, 'three', method)
        assert.is(third.status, 429, `${method} ${path}`)
        assert.match(third.headers['retry-after'] ?? '', /^[1-5]$/)
      }
      assert.match((await get(path, 'three')).text, /SYNC_SENDING_LIMIT.*"too_many_requests"/)
      for (let count = 0; count < 4; count++) assert.is((await get(path)).status, 200)
    }
    // What is said of an image is no transfer of it.
    assert.is((await get('/v1/backing-images/ubuntu', 'three')).status, 200)
    await put(server, 'debian', rawImage())
    assert.is((await get('/v1/backing-images/debian/download', 'three')).status, 200)
  }),
)

senders('an id that is none is 400, and none is remembered for what is not there', () =>
  sending(async (server, paths) => {
    for (const id of ['', 'a b', 'a/b', 'ä', 'a,b', 'x'.repeat(129)]) {
      for (const path of paths) {
        const headers = { 'x-sync-id': Buffer.from(id).toString('latin1') }
        const { status, text } = await ask(server, 'GET', path, { headers })
        assert.is(status, 400, `${id} ${path}`)
        assert.match(text, /X-Sync-Id/)
      }
    }
    const absent = '/v1/backing-images/nobody/download'
    for (const id of ['a', 'b', 'c', 'd']) {
      const { status } = await ask(server, 'GET', absent, { headers: { 'x-sync-id': id } })
      assert.is(status, 404)
    }
    const { status } = await ask(server, 'GET', paths[0] ?? '', {
      headers: { 'x-sync-id': 'x'.repeat(128) },
    })
    assert.is(status, 200)
  }),
)

senders('an id is active for as long as its answer takes, also one that fails', async () => {
  const { clock, senders: one } = clocked(1)
  let end: (how: 'sent' | 'failed') => void = () => {}
  const app = new Hono<Env>().get('/', async (c) =>
    inSync(c, one, { uuid: '0001' }, async () => {
      const how = await new Promise((resolve) => (end = resolve))
      if (how === 'failed') throw new ImageError('unavailable', 'The storage is away.')
      return c.text('sent')
    }),
  )
  app.onError((error, c) => c.text(error.message, 503))
  for (const [how, status] of [
    ['sent', 200],
    ['failed', 503],
  ] as const) {
    const answer = app.request('/', { headers: { 'x-sync-id': how } })
    clock.ms += 10 * lingerMs
    refused(() => one.enter('0001', 'other'))
    end(how)
    assert.is((await answer).status, status)
    refused(() => one.enter('0001', 'other'))
    clock.ms += lingerMs
    one.enter('0001', 'other')()
    clock.ms += lingerMs
  }
})

senders.run()
