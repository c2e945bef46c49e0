// The files of a disk from their launch to their end: the states in their order, what occupies a path, and
// that what nobody wants any more leaves nothing.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Gate } from '@backing-image/backend-local/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type DiskRig,
  anyBytes,
  eventually,
  failureOf,
  launchOf,
  pathOf,
  piecesOf,
  put,
  sha512,
  sourceOf,
  store,
  withDisk,
} from './testing/disk-rig.ts'

const files = suite('files')
const content = anyBytes(8192)

function aborted(signal: AbortSignal): Promise<never> {
  const ending = new Promise<never>((_, reject) => {
    const end = (): void => reject(signal.reason as Error)
    if (signal.aborted) end()
    signal.addEventListener('abort', end)
  })
  ending.catch(() => {})
  return ending
}

/** The first half, and the second when the gate is open. */
async function* halves(gate: Gate, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield* piecesOf(content.subarray(0, 4096))
  await Promise.race([gate.opened, aborted(signal)])
  yield* piecesOf(content.subarray(4096))
}

/** Neither begins nor ends by itself. */
async function* silence(signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield await aborted(signal)
}

files(
  'are pending, starting, in-progress and ready, in this order',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const [looking, opening, middle] = [new Gate(), new Gate(), new Gate()]
    await put(path, content.subarray(0, 512))
    const { place } = rig.disk
    const lstat = place.disk.lstat.bind(place.disk)
    place.disk.lstat = async (at) => {
      if (at === path) await looking.opened
      return await lstat(at)
    }
    const launch = launchOf(rig, { size: 8192, expectedChecksum: sha512(content) })
    const stored = rig.disk.upload(launch, async ({ signal }) => {
      await Promise.race([opening.opened, aborted(signal)])
      return halves(middle, signal)
    })
    const { state, ...first } = await rig.disk.get(path)
    assert.is(state, 'pending')
    assert.equal(first, {
      diskUUID: 'disk-1',
      expectedChecksum: sha512(content),
      filePath: path,
      uuid: '0123abcd',
      size: 8192,
      virtualSize: 0,
      realSize: 0,
      progress: 0,
      processedSize: 0,
      modificationTime: '',
      currentChecksum: '',
      message: '',
      sendingReference: 0,
    })
    looking.open()
    await rig.until(path, 'starting')
    opening.open()
    const half = await rig.until(path, 'in-progress')
    await eventually('half has come', async () => (await rig.disk.get(path)).progress === 50)
    assert.is(half.currentChecksum, '')
    middle.open()
    await stored
    const info = await rig.disk.get(path)
    assert.equal([info.state, info.progress, info.processedSize], ['ready', 100, 8192])
    assert.equal([info.size, info.virtualSize, info.currentChecksum], [8192, 8192, sha512(content)])
    assert.ok((await readFile(path)).equals(content))
  }),
)

files(
  'that do not begin in time fail, and their source is told to end',
  withDisk(
    async (rig) => {
      const path = pathOf(rig)
      const error = await failureOf(
        rig.disk.upload(launchOf(rig, { size: 8192 }), async (file) => silence(file.signal)),
      )
      const words = 'failed to wait for processing begin in 0.05 seconds, current state starting'
      assert.is(error.message, words)
      const info = await rig.disk.get(path)
      assert.equal([info.state, info.message], ['failed', `failed to process sync file: ${words}`])
      assert.equal(await rig.left(), [])
    },
    { beginTimeoutMs: 50 },
  ),
)

files(
  'that have begun in time may take longer than that',
  withDisk(
    async (rig) => {
      const gate = new Gate()
      const stored = rig.disk.upload(launchOf(rig, { size: 8192 }), async ({ signal }) =>
        halves(gate, signal),
      )
      await rig.until(pathOf(rig), 'in-progress')
      setTimeout(() => gate.open(), 100)
      await stored
      assert.is((await rig.disk.get(pathOf(rig))).state, 'ready')
    },
    { beginTimeoutMs: 50 },
  ),
)

files(
  'occupy their path and uuid until they are removed or forgotten, also when they have failed',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const elsewhere = sourceOf(rig)
    for (const end of ['remove', 'forget'] as const) {
      await rig.disk.fetch(launchOf(rig), path)
      await rig.until(path, 'failed')
      const samePath = launchOf(rig, { uuid: 'another' })
      const sameUuid = launchOf(rig, { path: elsewhere })
      assert.is(
        (await failureOf(rig.disk.fetch(samePath, path))).message,
        `file ${path} already exists`,
      )
      assert.is(
        (await failureOf(rig.disk.fetch(sameUuid, path))).message,
        `file ${elsewhere} with uuid 0123abcd already exists`,
      )
      await rig.disk[end](path)
      await store(rig, content)
      await rig.disk.remove(path)
    }
    assert.equal(await rig.disk.list(), [])
  }),
)

files(
  'are not known after they were forgotten, and then are not removed',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    await store(rig, content)
    for (let times = 0; times < 3; times += 1) await rig.disk.forget(path)
    for (let times = 0; times < 3; times += 1) await rig.disk.remove(path)
    assert.is((await failureOf(rig.disk.get(path))).message, `can not find sync file ${path}`)
    assert.is((await rig.left()).length, 2)
    await rig.disk.fetch(launchOf(rig), path)
    await rig.until(path, 'ready')
    await rig.disk.remove(path)
    assert.equal(await rig.left(), [])
    await rig.disk.remove(path)
  }),
)

files(
  'that are removed while they come leave nothing, and both removals wait for that',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    for (const end of ['remove', 'forget'] as const) {
      const launch = launchOf(rig, { size: 8192 })
      const stored = failureOf(
        rig.disk.upload(launch, async ({ signal }) => halves(new Gate(), signal)),
      )
      await rig.until(path, 'in-progress')
      await Promise.all([rig.disk[end](path), rig.disk[end](path)])
      assert.equal(await rig.left(), [])
      assert.is((await stored).message, 'the file was removed or forgotten')
      assert.equal(await rig.disk.list(), [])
    }
  }),
)

files(
  'that are removed at any moment leave nothing, and the next of that path is whole',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    for (let moment = 0; moment < 40; moment += 1) {
      const first = store(rig, content).catch(() => {})
      for (let turn = 0; turn < moment; turn += 1) await new Promise(setImmediate)
      const removed = rig.disk.remove(path)
      const again = rig.disk.remove(path)
      const second = store(rig, content)
      await Promise.all([removed, again, first])
      await second
      assert.is((await rig.disk.get(path)).state, 'ready')
      assert.ok((await readFile(path)).equals(content))
      assert.is((await rig.left()).length, 2)
      await rig.disk.remove(path)
      assert.equal(await rig.left(), [], `moment ${moment}`)
    }
  }),
)

files(
  'that nobody will send fail with that reason; those that are ready stay so',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const stored = failureOf(
      rig.disk.upload(launchOf(rig, { size: 8192 }), async (file) => silence(file.signal)),
    )
    await rig.until(path, 'starting')
    await rig.disk.fail(path, 'nobody will send it')
    assert.is((await stored).message, 'nobody will send it')
    const info = await rig.disk.get(path)
    assert.is(info.message, 'failed to process sync file: nobody will send it')
    await rig.disk.remove(path)
    await store(rig, content)
    await rig.disk.fail(path, 'too late')
    assert.is((await rig.disk.get(path)).state, 'ready')
    await rig.disk.fail('/nowhere', 'whatever')
  }),
)

files(
  'that fail while they are looked at stay failed',
  withDisk(async (rig) => {
    const path = pathOf(rig)
    const pending = rig.disk.upload(launchOf(rig, { size: 8192 }), async () => piecesOf(content))
    await rig.disk.fail(path, 'nobody will send it')
    assert.match((await failureOf(pending)).message, /invalid state failed for actual processing/)
    assert.is((await rig.disk.get(path)).state, 'failed')
    assert.equal(await rig.left(), [])
  }),
)

files(
  'are told of in the order of their paths, once each, with the keys of Longhorn',
  withDisk(async (rig) => {
    const names = ['c', 'a', 'b']
    for (const name of names) {
      await store(rig, content, { path: join(rig.root, 'tmp', name), uuid: name })
    }
    const answer = await rig.ask('GET', '/v1/files')
    assert.is(answer.headers.get('content-type'), 'application/json')
    const told = JSON.parse(answer.text) as Record<string, { filePath: string }>
    const expected = ['a', 'b', 'c'].map((name) => join(rig.root, 'tmp', name))
    assert.equal(Object.keys(told), expected)
    for (const [key, info] of Object.entries(told)) {
      assert.is(info.filePath, key)
      assert.is(
        Object.keys(info).join(),
        'diskUUID,expectedChecksum,filePath,uuid,size,virtualSize,realSize,state,progress,' +
          'processedSize,modificationTime,currentChecksum,message,sendingReference',
      )
    }
  }),
)

const sizes = [1, 511, 513, -512, 0.5, Number.NaN, Number.MAX_SAFE_INTEGER + 1]
files(
  'whose size Longhorn could not use are refused before anything is known of them',
  withDisk(async (rig: DiskRig) => {
    for (const size of sizes) {
      const launch = launchOf(rig, { size })
      const words = /should be a multiple of 512 bytes since Longhorn uses directIO by default/
      assert.match((await failureOf(rig.disk.fetch(launch, launch.path))).message, words)
      assert.match(
        (await failureOf(rig.disk.upload(launch, async () => piecesOf(content)))).message,
        words,
      )
      const options = { port: 0, fileType: '' }
      assert.match((await failureOf(rig.disk.receive(launch, options))).message, words)
    }
    const launch = launchOf(rig, { uuid: '' })
    assert.match((await failureOf(rig.disk.fetch(launch, launch.path))).message, /no uuid/)
    assert.equal(await rig.disk.list(), [])
  }),
)

files.run()
