import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { MemoryBackend, rawImage } from '@backing-image/core/testing'
import { ask, put, serving } from './testing/serving.ts'

const usage = suite('usage')

usage('usage is told in all and by name, in pages, and as gauges', async () => {
  const own = await serving()
  for (const [index, name] of ['aa', 'bb', 'cc'].entries()) {
    await put(own, name, rawImage(4096 * (index + 1)))
  }
  await ask(own, 'POST', '/v1/backing-images/aa/rollback', { body: '{"version":"1"}' })
  const get = async (query: string) =>
    JSON.parse((await ask(own, 'GET', `/v1/usage${query}`)).text) as {
      data: { name: string }[]
      continue: string
    }
  const { data, free, total, ...all } = (await get('')) as unknown as Record<string, unknown>
  assert.equal(all, {
    names: 3,
    versions: 4,
    logical: 4096 * 7,
    allocated: 4096 * 6,
    shared: 4096,
    inFlight: { jobs: 0, received: 0, announced: 0 },
    continue: null,
  })
  assert.equal((data as object[])[0], {
    name: 'aa',
    versions: 2,
    logical: 8192,
    allocated: 4096,
    shared: 4096,
  })
  assert.ok(Number(free) > 0 && Number(free) < Number(total))
  const first = await get('?limit=2')
  const second = await get(`?limit=2&continue=${first.continue}`)
  assert.equal(
    [first, second].map((page) => page.data.map(({ name }) => name)),
    [['aa', 'bb'], ['cc']],
  )
  assert.is(second.continue, null)
  for (const query of ['?limit=0', '?continue=!', '?name=aa']) {
    assert.is((await ask(own, 'GET', `/v1/usage${query}`)).status, 400, query)
  }
  const { text } = await ask(own, 'GET', '/metrics')
  for (const line of [
    `{kind="logical"} ${4096 * 7}`,
    `{kind="allocated"} ${4096 * 6}`,
    '{kind="shared"} 4096',
    '{kind="in_flight"} 0',
    `{kind="total"} ${String(total)}`,
  ]) {
    assert.ok(text.includes(`backing_image_manager_storage_bytes${line}\n`), line)
  }
  assert.match(text, /storage_bytes\{kind="free"\} [1-9]/)
  await own.close()
})

usage('a medium that does not tell its size has none', async () => {
  const inner = new MemoryBackend()
  const silent = new Proxy(inner, {
    has: (target, key) => key !== 'space' && key in target,
    get: (target, key) => {
      const value: unknown = Reflect.get(target, key, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
  const own = await serving({}, silent)
  const { text } = await ask(own, 'GET', '/v1/usage')
  const { free, total } = JSON.parse(text) as Record<string, unknown>
  assert.equal([free, total], [null, null])
  assert.not.match((await ask(own, 'GET', '/metrics')).text, 'kind="free"')
  await own.close()
})

usage.run()
