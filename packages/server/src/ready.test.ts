import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { ImageError } from '@backing-image/core'
import { MemoryBackend } from '@backing-image/core/testing'
import { Health } from './ready.ts'
import { askJson, eventually, serving } from './testing/serving.ts'

const ready = suite('ready')

const backend = new MemoryBackend()

ready('before the first look it is not ready; after a good one it is', async () => {
  const health = new Health({ store: { check: async () => {} }, backend })
  assert.is(health.report().status, 'unavailable')
  await health.start()
  const { status, message, backend: name, capabilities, lastCheckMs } = health.report()
  assert.equal({ status, message, name }, { status: 'ok', message: '', name: 'memory' })
  assert.equal(capabilities, ['unfinished', 'owners', 'space'])
  assert.ok(lastCheckMs !== null && lastCheckMs >= 0)
  health.stop()
  assert.is(health.report().message, 'The server is stopping.')
})

ready(
  'a failing storage is told with its message, and one that recovers is ready again',
  async () => {
    let isBroken = true
    const check = async () => {
      if (isBroken) throw new ImageError('unavailable', 'The disk is away.')
    }
    const health = new Health({ store: { check }, backend, intervalMs: 10 })
    await health.start()
    assert.is(health.report().message, 'The disk is away.')
    isBroken = false
    await eventually(() => health.report().status === 'ok')
    health.stop()
  },
)

ready(
  'a storage that hangs is told as soon as it takes too long, and asked only once',
  async () => {
    let looks = 0
    let answer = () => {}
    const check = () => {
      looks += 1
      return new Promise<void>((resolve) => (answer = resolve))
    }
    const health = new Health({ store: { check }, backend, intervalMs: 10 })
    await health.start()
    await eventually(() => /has not answered since/.test(health.report().message))
    assert.is(health.report().status, 'unavailable')
    assert.is(looks, 1)
    answer()
    await eventually(() => health.report().status === 'ok')
    health.stop()
  },
)

ready('/ready is 503 while the storage does not work, and never waits for it', async () => {
  const own = await serving()
  own.backend.before = () => {
    throw new ImageError('unavailable', 'The disk is away.')
  }
  await eventually(async () => (await askJson(own, 'GET', '/ready')).status === 503)
  own.backend.before = () => new Promise<never>(() => {})
  const { status, json } = await askJson(own, 'GET', '/ready')
  assert.is(status, 503)
  assert.match(json.message, /The disk is away|has not answered/)
  assert.is((await askJson(own, 'GET', '/health')).status, 200)
  own.backend.before = undefined
  await own.close()
})

ready.run()
