// The temporary image of an export goes when the work is over, whoever ends it; what is not ours stays.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ask, brought, outcome } from './testing/bringing.ts'
import { assertOneAndGone, data, disk, gone, held, ofVolume, until } from './testing/exporting.ts'
import { readyImage } from './testing/stand-in-image.ts'

const exporting = suite('the end of exports')

exporting(
  'one who stops before it has removed the export leaves that to the next',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    const first = await open()
    standIn.fault = ({ method }) => (method === 'DELETE' ? { isBroken: true } : undefined)
    const job = await ask(first, 'golden', data)
    await until(() => standIn.count('DELETE', /./) > 0)
    await first.close()
    assert.is(standIn.images.size, 1)
    standIn.fault = () => undefined
    const second = await open()
    assert.is((await outcome(second, job)).state, 'ready')
    await until(() => standIn.images.size === 0)
    assertOneAndGone(rig)
  }),
)

exporting(
  'what is cancelled is gone',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    held(standIn)
    const store = await open()
    await ask(store, 'golden', data)
    await until(() => standIn.images.size === 1)
    await store.remove('golden')
    await until(() => standIn.images.size === 0)
    assertOneAndGone(rig)
  }),
)

exporting(
  'what another server cancels for one that is dead is gone, too',
  ofVolume(async (rig) => {
    const { standIn, open } = rig
    held(standIn)
    const first = await open()
    await ask(first, 'golden', data)
    await until(() => standIn.images.size === 1)
    const second = await open()
    await second.remove('golden')
    await until(() => standIn.images.size === 0)
    await first.close()
    assertOneAndGone(rig)
  }),
)

for (const [what, change] of [
  ['another source', { sourceType: 'upload' }],
  ['another volume', { parameters: { 'volume-name': 'other', 'export-type': 'raw' } }],
] as const) {
  exporting(
    `an image of that name with ${what} is not touched`,
    ofVolume(async ({ standIn, open }) => {
      const store = await open()
      const parameters = { 'volume-name': 'data', 'export-type': 'raw' }
      const like = { sourceType: 'export-from-volume', parameters }
      // Its name is known when it is asked for.
      standIn.fault = ({ path }) => {
        const name = path.split('/').at(-1) ?? ''
        if (standIn.images.size === 0) {
          standIn.images.set(name, readyImage(name, disk, { ...like, ...change }))
        }
        return undefined
      }
      const image = await brought(store, 'golden', data)
      assert.is(image.state, 'failed')
      assert.match(image.message, 'is not the export that was asked for')
      assert.is(standIn.images.size, 1)
      assert.is(standIn.count('DELETE', /./) + standIn.count('POST', /./), 0)
      assert.is(standIn.count('GET', /download$/), 0)
    }),
  )
}

exporting(
  'an export that can not be removed is named, and the image is there',
  ofVolume(async ({ standIn, open, troubles }) => {
    const store = await open()
    standIn.fault = () => {
      for (const name of standIn.images.keys()) standIn.inUse.add(name)
      return undefined
    }
    const image = await brought(store, 'golden', data)
    assert.is(image.state, 'ready', image.message)
    await gone(store, image)
    await until(() => troubles.length > 0)
    assert.match(
      troubles[0]?.message ?? '',
      /bim-export-.* may still be in Longhorn: .*in use|used/,
    )
  }),
)

exporting(
  'a Longhorn that stays away ends the removal, too',
  ofVolume(async ({ standIn, open, troubles }) => {
    const store = await open({ clearUpMaxMs: 20 })
    standIn.fault = ({ method }) => (method === 'DELETE' ? { isBroken: true } : undefined)
    const image = await brought(store, 'golden', data)
    assert.is(image.state, 'ready', image.message)
    await until(() => troubles.length > 0)
    assert.match(troubles[0]?.message ?? '', /bim-export-.* may still be in Longhorn/)
  }),
)

exporting.run()
