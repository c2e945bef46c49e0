import { setTimeout as pause } from 'node:timers/promises'
import * as assert from 'uvu/assert'
import { suite } from 'uvu'
import { ImageError } from '@backing-image/core'
import { MemoryBackend } from '@backing-image/core/testing'
import { Health, type HealthReport, type Outages } from './ready.ts'
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
    assert.match(health.report().message, /^Since 20\S+Z: The disk is away\.$/)
    const since = health.report().message
    await pause(50)
    assert.is(health.report().message, since, 'since when it is so must not move')
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

ready(
  'while all is well it is looked at seldom, and at once when a request suspects it',
  async () => {
    let looks = 0
    const check = async () => {
      looks += 1
    }
    const health = new Health({ store: { check }, backend, intervalMs: 60_000 })
    await health.start()
    assert.is(looks, 1)
    for (let count = 0; count < 1000; count += 1) health.suspect()
    await pause(100)
    assert.is(looks, 1, 'two looks are some time apart')
    await eventually(() => looks === 2)
    await pause(2_100)
    health.suspect()
    await eventually(() => looks === 3)
    await pause(50)
    assert.is(looks, 3)
    health.stop()
    health.suspect()
    await pause(20)
    assert.is(looks, 3)
  },
)

ready('a backend that knows of its outage is told at once, and its end too', async () => {
  const outages = new MemoryBackend() as MemoryBackend & { [Key in keyof Outages]: Outages[Key] }
  let tell = () => {}
  const outage = { since: new Date(), message: '/disk has not answered since just now.' }
  let current: Outages['outage'] = outage
  Object.defineProperty(outages, 'outage', { get: () => current })
  Object.assign(outages, {
    onOutage: (listener: () => void) => {
      tell = listener
      return () => (tell = () => {})
    },
  })
  current = undefined
  const check = async () => {
    if (current) throw new ImageError('unavailable', 'It is unclear whether it was written.')
  }
  const told: string[] = []
  const onChange = (report: HealthReport) => told.push(`${report.status} ${report.message}`)
  const health = new Health({ store: { check }, backend: outages, intervalMs: 60_000, onChange })
  await health.start()
  current = outage
  tell()
  assert.is(health.report().message, outage.message)
  assert.is(health.report().status, 'unavailable')
  current = undefined
  tell()
  await eventually(() => health.report().status === 'ok')
  assert.equal(told, ['ok ', `unavailable ${outage.message}`, 'ok '])
  health.stop()
})

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
