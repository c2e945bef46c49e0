// Requests that come at the same time, to one server or to several of one store: the same is taken on
// once, what must be new is new, and a store with much left to do opens at once.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { isImageError } from '../errors.ts'
import type { Ingested } from '../request.ts'
import { type BeforeVerb, MemoryBackend } from '../testing/memory.ts'
import { type Pulling, outcome, pullOf, pulling } from '../testing/pulling.ts'
import { type Instance, disk, latch } from '../testing/rig.ts'

const accepting = suite('pulls: at the same time')

const count = 12

/** So many of the same request, spread over some servers. */
async function askAll(
  rig: Pulling,
  servers: Instance[],
  more: { mustBeNew?: boolean; version?: string } = {},
): Promise<PromiseSettledResult<Ingested>[]> {
  const url = rig.web.serve('/disk.img', disk(1)).href
  const each = count / servers.length
  const asked = servers.flatMap((server) => Array.from({ length: each }, () => server))
  return await Promise.allSettled(
    asked.map(async ({ store }) => await store.pull(pullOf('jammy', { url }, more))),
  )
}

function valuesOf(results: PromiseSettledResult<Ingested>[]): Ingested[] {
  return results.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
}

/** All of them have claimed before any looks for the others. */
function meet(servers: readonly Instance[]): void {
  const claimed = servers.map(() => latch())
  for (const [index, { backend }] of servers.entries()) {
    backend.before = async (verb, key) => {
      if (verb !== 'put' || !key.endsWith('/source.json')) return
      claimed[index]?.open()
      await Promise.all(claimed.map(({ opened }) => opened))
    }
  }
}

/** Those who were told that they made it, and the versions that there are in the end. */
async function made(
  results: PromiseSettledResult<Ingested>[],
  { store }: Instance,
): Promise<string[]> {
  const created = valuesOf(results).filter(({ created: isNew }) => isNew)
  for (const { image } of created) assert.is((await outcome(store, image)).state, 'ready')
  assert.is((await store.versions('jammy')).length, created.length)
  return created.map(({ image }) => image.uuid)
}

for (const version of [undefined, '7']) {
  const what = version === undefined ? 'without a version' : 'with a version'
  const more = version === undefined ? {} : { version }

  accepting(
    `the same request to one server, ${what}, is one image`,
    pulling(async (rig) => {
      const server = await rig.open()
      const results = await askAll(rig, [server], more)
      const [uuid, ...others] = await made(results, server)
      assert.equal(others, [])
      assert.equal(new Set(valuesOf(results).map(({ image }) => image.uuid)), new Set([uuid]))
      assert.is(valuesOf(results).length, count)
      assert.is(rig.web.requests.length, 1)
    }),
  )

  accepting(
    `the same request to two servers that see each other, ${what}, is one image`,
    pulling(async (rig) => {
      const servers = [await rig.open(), await rig.open()] as const
      meet(servers)
      const results = await askAll(rig, [...servers], more)
      assert.is((await made(results, servers[0])).length, 1)
      assert.is(valuesOf(results).length, count)
      await pause(50)
      assert.equal(rig.town.keys('.jobs/'), [])
    }),
  )
}

accepting(
  'of requests that must be new one is taken on, and the others are refused',
  pulling(async (rig) => {
    const servers = [await rig.open(), await rig.open()]
    meet(servers)
    const results = await askAll(rig, servers, { mustBeNew: true })
    assert.is((await made(results, servers[0] as Instance)).length, 1)
    const refused = results.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []))
    assert.is(refused.length, count - 1)
    assert.ok(refused.every((error) => isImageError(error, 'failed_precondition')))
  }),
)

accepting(
  'one refusal is nobody else’s, and different requests are different images',
  pulling(async (rig) => {
    const { store } = await rig.open()
    const urls = ['/a.img', '/b.img'].map((path, seed) => rig.web.serve(path, disk(seed)).href)
    const asked = [...urls, 'http://10.0.0.1:x/'].map(async (url) => {
      return await store.pull(pullOf('jammy', { url }))
    })
    const results = await Promise.allSettled(asked)
    assert.equal(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected'],
    )
    assert.is(new Set(valuesOf(results).map(({ image }) => image.uuid)).size, 2)
  }),
)

accepting(
  'a store opens at once, however much there is to be gone on with',
  pulling(async (rig) => {
    const { town, web, open } = rig
    const first = await open({ atOnce: 1 })
    const stall = () => ({ stallAfterBytes: 1000 })
    const url = web.serve('/stuck.img', disk(1), { fault: stall }).href
    for (let index = 0; index < 20; index += 1) {
      await first.store.pull(pullOf(`image-${index}`, { url }))
    }
    town.medium.kill(first.backend.owner)
    const go = latch()
    const before: BeforeVerb = async (verb, key) => {
      if (verb === 'put' && key.endsWith('/2.json')) await go.opened
    }
    const next = await open({}, new MemoryBackend({ shared: town.medium, before }))
    assert.is((await next.store.list()).length, 20)
    go.open()
    await next.store.tend()
    assert.is(town.keys('.jobs/').filter((key) => key.endsWith('/2.json')).length, 20)
  }),
)

accepting.run()
