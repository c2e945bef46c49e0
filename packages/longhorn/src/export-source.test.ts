// Volumes that Longhorn exports: one temporary image a job, whoever works on it, whole and verified.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Asked, ask, brought, bytesOf, outcome } from './testing/bringing.ts'
import { assertOneAndGone, data, disk, gone, held, ofVolume, until } from './testing/exporting.ts'

const exporting = suite('volumes of Longhorn')

exporting(
  'a volume comes whole and verified, and the temporary image is gone',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    const store = await open()
    const parameters = { 'volume-name': 'data' }
    const image = await brought(store, 'golden', { ...data, parameters })
    assert.equal([image.state, image.format], ['ready', 'raw'], image.message)
    assert.equal(image.parameters, data.parameters)
    assert.equal([image.minNumberOfCopies, image.labels, image.warnings], [0, {}, []])
    assert.ok((await bytesOf(store, 'golden')).equals(disk))
    await gone(store, image)
    assertOneAndGone(rig)
    const again = await ask(store, 'golden', { ...data, parameters })
    assert.equal([again.uuid, standIn.count('POST', /./)], [image.uuid, 1])
  }),
)

exporting(
  'another server goes on with the same export when the first has stopped',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    const end = held(standIn)
    const first = await open()
    const job = await ask(first, 'golden', data)
    await until(() => standIn.images.size === 1)
    await first.close()
    assert.is(standIn.images.size, 1)
    const second = await open()
    end()
    const image = await outcome(second, job)
    assert.is(image.state, 'ready', image.message)
    await gone(second, image)
    assertOneAndGone(rig)
  }),
)

exporting(
  'how far Longhorn is with it is told, as long as nothing comes',
  ofVolume(async ({ standIn, open }) => {
    const end = held(standIn)
    const store = await open()
    const { uuid } = await ask(store, 'golden', data)
    let message = ''
    while (message === '') {
      ;({ message } = await store.get('golden', { uuid }))
      await pause(5)
    }
    assert.match(message, /^Longhorn makes bim-export-[0-9a-f]{8}: [a-z-]+, [0-9]+ %\.$/)
    end()
    const image = await outcome(store, await store.get('golden', { uuid }))
    assert.equal([image.state, image.message], ['ready', ''])
  }),
)

exporting(
  'an export that fails is told in the words of Longhorn, and is gone',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    held(standIn)('replica is faulted')
    const image = await brought(await open(), 'golden', data)
    assert.is(image.state, 'failed')
    assert.match(image.message, /failed to make bim-export-[0-9a-f]{8}: replica is faulted\.$/)
    assertOneAndGone(rig)
  }),
)

exporting(
  'a volume that is not there is refused in the words of Longhorn',
  ofVolume(async ({ standIn, open }) => {
    const parameters = { 'volume-name': 'none' }
    const image = await brought(await open(), 'golden', { ...data, parameters })
    assert.is(image.state, 'failed')
    assert.match(image.message, 'volumes.longhorn.io "none" not found')
    assert.is(standIn.count('POST', /./), 1)
  }),
)

exporting(
  'what does not come whole is fetched again from the same export',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    let count = 0
    standIn.payload = (_, sent) => (++count <= 2 ? { sent: sent.subarray(0, 1000) } : { sent })
    const store = await open()
    const image = await brought(store, 'golden', data)
    assert.is(image.state, 'ready', image.message)
    assert.ok((await bytesOf(store, 'golden')).equals(disk))
    await gone(store, image)
    assertOneAndGone(rig)
  }),
)

exporting(
  'bytes with another checksum are refused, and the export is gone',
  ofVolume(async (rig) => {
    const { standIn, open, medium } = rig
    standIn.payload = () => ({ sent: gzipSync(randomBytes(disk.length)) })
    const image = await brought(await open(), 'golden', data)
    assert.is(image.state, 'failed')
    assert.match(image.message, /checksum|sha512/)
    const kept = [...medium.objects.keys()].filter((key) => !key.startsWith('.'))
    assert.equal(kept, [])
    assertOneAndGone(rig)
  }),
)

exporting(
  'a Longhorn that is away does not end it, nor makes a second one',
  ofVolume(async (rig) => {
    const { standIn, open, troubles } = rig
    const end = held(standIn)
    const store = await open()
    const job = await ask(store, 'golden', data)
    await until(() => standIn.images.size === 1)
    standIn.fault = () => ({ status: 502, body: '<html>bad gateway' })
    await until(() => troubles.length === 1)
    end()
    standIn.fault = () => undefined
    const image = await outcome(store, job)
    assert.is(image.state, 'ready', image.message)
    await gone(store, image)
    assertOneAndGone(rig)
  }),
)

exporting(
  'a create whose answer is lost makes no second one',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    let isMade = false
    standIn.fault = ({ method, path }) => {
      if (method !== 'POST' || isMade) return undefined
      isMade = true
      const asked = standIn.requests.find((each) => each.method === 'GET')
      // It goes through, by another way.
      void fetch(new URL(path, standIn.url), {
        method,
        body: JSON.stringify({
          name: asked?.path.split('/').at(-1),
          sourceType: 'export-from-volume',
          parameters: data.parameters,
        }),
      })
      return { isBroken: true }
    }
    const store = await open()
    const image = await brought(store, 'golden', data)
    assert.is(image.state, 'ready', image.message)
    await gone(store, image)
    assert.is(standIn.images.size, 0)
  }),
)

exporting(
  'a volume over the limit is not fetched, and its export is gone',
  ofVolume(async (rig) => {
    const image = await brought(await rig.open({ sizeMax: 1000 }), 'golden', data)
    assert.is(image.state, 'failed')
    assert.match(image.message, 'MAX_IMAGE_SIZE is 1000')
    assert.is(rig.standIn.count('GET', /download$/), 0)
    assertOneAndGone(rig)
  }),
)

const refusals: [string, Asked['parameters'], RegExp][] = [
  ['without a volume', {}, /volume-name is missing/],
  ['with a volume that is none', { 'volume-name': '../x' }, /"\.\.\/x"/],
  ['of another type', { 'volume-name': 'data', 'export-type': 'vmdk' }, /raw or qcow2/],
]
for (const [what, parameters, words] of refusals) {
  exporting(
    `a request ${what} is refused before anything is asked`,
    ofVolume(async ({ standIn, open }) => {
      const work = ask(await open(), 'golden', { ...data, parameters })
      const error = await work.catch((reason: unknown) => reason)
      assert.match((error as Error).message, words)
      assert.is(standIn.requests.length, 0)
    }),
  )
}

exporting.run()
