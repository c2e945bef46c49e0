// Watching Longhorn: what changes there is told at once where it pushes, and soon where it does not, or
// is away for a while.

import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { LonghornClient } from './client.ts'
import { LonghornStandIn } from './testing/stand-in.ts'
import { type Watching, watchImages } from './watch.ts'

const watch = suite('watching Longhorn')

interface Rig {
  standIn: LonghornStandIn
  client: LonghornClient
  /** The names of what there is, as they were told. */
  told: string[]
  troubles: Error[]
  begin(more?: Partial<Watching>): void
  end(): Promise<void>
}

async function rigOf(): Promise<Rig> {
  const standIn = await LonghornStandIn.start()
  const client = new LonghornClient({ url: standIn.url })
  const stop = new AbortController()
  let watching = Promise.resolve()
  const rig: Rig = {
    standIn,
    client,
    told: [],
    troubles: [],
    begin: (more) => {
      watching = watchImages(client, {
        onImages: (images) => rig.told.push(images.map(({ name }) => name).join(' ')),
        onTrouble: (error) => rig.troubles.push(error),
        signal: stop.signal,
        retryDelayMs: { first: 10, most: 40 },
        ...more,
      })
    },
    end: async () => {
      stop.abort()
      await watching
      client.close()
      await rig.standIn.stop()
    },
  }
  return rig
}

async function until(what: () => boolean): Promise<void> {
  while (!what()) await pause(2)
}

const jammy = { name: 'jammy', sourceType: 'upload', parameters: {}, expectedChecksum: '' } as const

watch('what changes is pushed', async () => {
  const rig = await rigOf()
  rig.begin()
  // Once asked, once pushed when the WebSocket opens.
  await until(() => rig.told.length === 2)
  await rig.client.create(jammy)
  await until(() => rig.told.at(-1) === 'jammy')
  assert.is(rig.standIn.count('GET', /backingimages$/), 1)
  assert.equal(rig.troubles, [])
  await rig.end()
})

watch('where nothing is pushed it is asked again and again', async () => {
  const rig = await rigOf()
  rig.standIn.isPushing = false
  rig.begin({ pollIntervalMs: 10 })
  await until(() => rig.told.length > 2)
  await rig.client.create(jammy)
  await until(() => rig.told.at(-1) === 'jammy')
  assert.equal(rig.troubles, [])
  await rig.end()
})

watch('while it is away it is asked ever less, and told of as soon as it is back', async () => {
  const rig = await rigOf()
  rig.standIn.fault = () => ({ status: 503, body: 'no' })
  rig.begin({ pollIntervalMs: 10 })
  await until(() => rig.troubles.length === 4)
  const [first, second, third, fourth] = rig.standIn.requests.map(({ atMs }) => atMs)
  assert.ok((second ?? 0) - (first ?? 0) >= 9)
  assert.ok((fourth ?? 0) - (third ?? 0) >= 39)
  assert.equal(rig.told, [])
  rig.standIn.fault = () => undefined
  await until(() => rig.told.length > 0)
  await rig.end()
})

watch('a feed that breaks is opened again', async () => {
  const rig = await rigOf()
  const port = Number(new URL(rig.standIn.url).port)
  rig.begin({ pollIntervalMs: 10 })
  await until(() => rig.told.length >= 2)
  await rig.standIn.stop()
  await until(() => rig.troubles.length > 0)
  rig.standIn = await LonghornStandIn.start({ port })
  rig.told.length = 0
  await until(() => rig.told.length >= 2)
  await rig.client.create(jammy)
  await until(() => rig.told.at(-1) === 'jammy')
  await rig.end()
})

watch('an end is an end, whatever it is waiting for', async () => {
  for (const status of [undefined, 503]) {
    const rig = await rigOf()
    rig.standIn.fault = () => (status === undefined ? undefined : { status })
    rig.begin({ retryDelayMs: { first: 60_000, most: 60_000 } })
    await until(() => rig.told.length + rig.troubles.length > 0)
    await rig.end()
  }
})

watch.run()
