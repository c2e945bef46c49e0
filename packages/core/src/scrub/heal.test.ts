// Corrupt bytes are marked, and where another copy is to be had sound ones take their place, for as long
// as any image needs them.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from '../backend.ts'
import { bytesKey, corruptKey, recordKey } from '../layout.ts'
import type { Source } from '../pull/source.ts'
import {
  Shelf,
  body,
  contents,
  corruptionOf,
  healedFolder,
  options,
  plantTwin,
  pulled,
} from '../testing/healing.ts'
import { disk, inTown, put, streamOf } from '../testing/rig.ts'
import { fast, faultsOf, notesOf, rot, scrubbed, truncate } from '../testing/scrubbing.ts'

const heal = suite('scrub: heal')

heal(
  'corrupt bytes are replaced by the same content of another image',
  inTown(async (town) => {
    const instance = await town.open({ scrub: fast })
    const image = await put(instance.store, 'jammy', 1)
    plantTwin(town, image)
    const key = bytesKey('jammy', image.uuid)
    rot(town, key)
    const before = contents(town)
    const report = await scrubbed(instance.store, { repair: true, steps: ['digests'] })
    assert.equal(faultsOf(report), [`digests ${key} done`])
    const corruption = await corruptionOf(instance, image)
    assert.is(corruption?.expected, `sha512:${image.checksums.sha512}`)
    assert.match(corruption?.actual ?? '', /^sha512:[0-9a-f]{128}$/)
    const healed = healedFolder(corruption?.healedBy)
    assert.equal(contents(town), [...before, ...healed, corruptKey('jammy', image.uuid)].toSorted())
    assert.equal(town.medium.objects.get(healed[0] ?? '')?.body, body)
    const again = await scrubbed(instance.store, {
      steps: ['sizes', 'orphans', 'corrupt', 'digests'],
    })
    assert.equal(faultsOf(again), [])
    assert.equal(notesOf(again), [`corrupt ${key} none`])
    assert.is(again.steps.at(-1)?.bytes, 2 * body.length, 'what is known to be corrupt is not read')
  }),
)

heal(
  'what was cut off is fetched anew from where it came from',
  inTown(async (town) => {
    const shelf = new Shelf()
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy')
    truncate(town, bytesKey('jammy', image.uuid))
    const dry = await scrubbed(instance.store)
    assert.equal(
      faultsOf(dry).map((each) => each.split(' ')[2]),
      ['possible', 'possible'],
    )
    assert.is(shelf.asked, 1, 'a dry run asks nobody')
    const report = await scrubbed(instance.store, { steps: ['sizes'], repair: true })
    assert.is(report.findings[0]?.repair, 'done')
    const corruption = await corruptionOf(instance, image)
    assert.equal([corruption?.expected, corruption?.actual], ['4096 bytes', '3584 bytes'])
    assert.equal(town.medium.objects.get(corruption?.healedBy ?? '')?.body, body)
    assert.is(shelf.asked, 2)
  }),
)

heal(
  'one healing serves all the versions that share the bytes',
  inTown(async (town) => {
    const shelf = new Shelf()
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy')
    await instance.store.rollback('jammy', '1')
    await instance.store.rollback('jammy', '1')
    rot(town, bytesKey('jammy', image.uuid))
    const report = await scrubbed(instance.store, { repair: true })
    assert.equal([report.faults, report.repaired, shelf.asked], [1, 1, 2])
    for (const version of ['1', '2', '3']) {
      assert.match(report.findings[0]?.what ?? '', `jammy ${version}`)
    }
  }),
)

heal(
  'three names that share corrupt bytes fail together and come back together',
  inTown(async (town) => {
    const shelf = new Shelf()
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy')
    const names = ['jammy', 'noble', 'focal']
    for (const name of names.slice(1)) await put(instance.store, name, 1)
    const other = await town.open()
    const states = async (): Promise<string[]> =>
      await Promise.all(names.map(async (name) => (await other.store.get(name)).state))
    rot(town, bytesKey('jammy', image.uuid))
    shelf.content = undefined
    const failed = await scrubbed(instance.store, { repair: true })
    assert.equal([failed.faults, failed.repaired], [1, 0])
    for (const name of names) assert.match(failed.findings[0]?.what ?? '', `${name} 1`)
    assert.equal(await states(), ['failed', 'failed', 'failed'])
    shelf.content = body
    const healed = await scrubbed(instance.store, { repair: true })
    assert.equal([healed.faults, healed.repaired], [1, 1])
    assert.equal(await states(), ['ready', 'ready', 'ready'])
    for (const name of names) {
      const opened = await other.store.open(name)
      assert.ok((await readAll(await opened.read())).equals(body))
    }
    for (const name of names.toReversed()) await instance.store.remove(name)
    assert.equal(contents(town), [])
  }),
)

heal(
  'without another copy they stay marked, and nothing else is left',
  inTown(async (town) => {
    const shelf = new Shelf()
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy')
    rot(town, bytesKey('jammy', image.uuid))
    const before = contents(town)
    for (const content of [undefined, disk(2), body.subarray(0, 1024)]) {
      shelf.content = content
      const report = await scrubbed(instance.store, { repair: true })
      assert.is(report.findings[0]?.repair, 'failed')
      assert.match(report.findings[0]?.what ?? '', 'Its source (download)')
      assert.equal(contents(town), [...before, corruptKey('jammy', image.uuid)].toSorted())
      assert.is((await corruptionOf(instance, image))?.healedBy, undefined)
    }
    const uploaded = await put(instance.store, 'noble', 5)
    rot(town, bytesKey('noble', uploaded.uuid))
    const report = await scrubbed(instance.store, { repair: true, steps: ['digests'] })
    assert.match(report.findings[0]?.what ?? '', 'No other copy')
    shelf.content = body
    const later = await scrubbed(instance.store, { repair: true, steps: ['corrupt'] })
    assert.equal(later.findings.map(({ name, repair }) => `${name} ${repair}`).toSorted(), [
      'jammy done',
      'noble failed',
    ])
  }),
)

heal(
  'a source whose secrets are not known any more is not asked',
  inTown(async (town) => {
    const shelf = new Shelf()
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy', 'http://there/a?token=REDACTED')
    rot(town, bytesKey('jammy', image.uuid))
    const report = await scrubbed(instance.store, { repair: true, steps: ['digests'] })
    assert.is(report.findings[0]?.repair, 'failed')
    assert.is(shelf.asked, 1)
  }),
)

heal(
  'a source that would make something elsewhere is not asked',
  inTown(async (town) => {
    const shelf: Shelf & Pick<Source, 'clearUp'> = new Shelf()
    shelf.clearUp = async () => {}
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy')
    rot(town, bytesKey('jammy', image.uuid))
    const report = await scrubbed(instance.store, { repair: true, steps: ['digests'] })
    assert.is(report.findings[0]?.repair, 'failed')
    assert.is(shelf.asked, 1)
  }),
)

heal(
  'a twin that is corrupt itself is no help, and is healed with the other from the source',
  inTown(async (town) => {
    const shelf = new Shelf()
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy')
    const twin = plantTwin(town, image)
    for (const key of [bytesKey('jammy', image.uuid), twin]) rot(town, key, key.length)
    const report = await scrubbed(instance.store, { repair: true, steps: ['digests'] })
    assert.is(report.state, 'done')
    assert.equal([report.faults, report.repaired], [2, 2])
    for (const each of [image, { ...image, name: 'twin', uuid: '0badcafe' }]) {
      const { healedBy = '' } = (await corruptionOf(instance, each)) ?? {}
      assert.equal(town.medium.objects.get(healedBy)?.body, body)
    }
  }),
)

heal(
  'what healed and has turned bad, or is gone, is replaced, and does not stay',
  inTown(async (town) => {
    const instance = await town.open(options(new Shelf()))
    const image = await pulled(instance, 'jammy')
    rot(town, bytesKey('jammy', image.uuid))
    await scrubbed(instance.store, { repair: true })
    const actual = (await corruptionOf(instance, image))?.actual
    for (const spoil of [
      (key: string) => rot(town, key),
      (key: string) => town.medium.remove(key),
    ]) {
      const { healedBy: before = '' } = (await corruptionOf(instance, image)) ?? {}
      spoil(before)
      const report = await scrubbed(instance.store, { repair: true })
      assert.equal([report.faults, report.repaired], [1, 1])
      const after = await corruptionOf(instance, image)
      assert.is.not(after?.healedBy, before)
      assert.is(after?.actual, actual, 'of the bytes that the mark is about')
      assert.equal(town.medium.objects.get(after?.healedBy ?? '')?.body, body)
      assert.equal(
        contents(town).filter((key) => healedFolder(before).includes(key)),
        [],
      )
    }
  }),
)

heal(
  'with the last image of them all of it goes; before, nothing',
  inTown(async (town) => {
    const instance = await town.open(options(new Shelf()))
    const image = await pulled(instance, 'jammy')
    await instance.store.rollback('jammy', '1')
    rot(town, bytesKey('jammy', image.uuid))
    await scrubbed(instance.store, { repair: true })
    const healed = (await corruptionOf(instance, image))?.healedBy
    await instance.store.remove('jammy', { version: '1' })
    town.pass(24 * 30)
    await instance.store.sweep()
    assert.equal(
      healedFolder(healed).filter((key) => !town.keys().includes(key)),
      [],
    )
    await instance.store.remove('jammy')
    assert.equal(contents(town), [])
  }),
)

heal(
  'a mark that outlived its bytes goes with the sweep, and whatever served in their place',
  inTown(async (town) => {
    const instance = await town.open(options(new Shelf()))
    const image = await pulled(instance, 'jammy')
    rot(town, bytesKey('jammy', image.uuid))
    await scrubbed(instance.store, { repair: true })
    // A remover that died between the bytes and the rest.
    town.medium.remove(recordKey('jammy', '1'))
    town.medium.remove(bytesKey('jammy', image.uuid))
    const dry = await scrubbed(instance.store, { steps: ['corrupt', 'orphans'] })
    assert.equal(faultsOf(dry), [])
    assert.equal(notesOf(dry), [`corrupt ${corruptKey('jammy', image.uuid)} possible`])
    await instance.store.sweep()
    assert.equal(
      contents(town).filter((key) => !key.endsWith('.cfg') && !key.endsWith('/blocks')),
      [],
    )
  }),
)

heal(
  'healing is no image: nobody sees it, and a delete is not undone by it',
  inTown(async (town) => {
    const shelf = new Shelf()
    const instance = await town.open(options(shelf))
    const image = await pulled(instance, 'jammy')
    rot(town, bytesKey('jammy', image.uuid))
    const seen: string[] = []
    instance.store.subscribe((event) => void seen.push(event.kind))
    shelf.open = async () => {
      assert.equal(await instance.store.inFlight(), [])
      assert.equal(
        (await instance.store.versions('jammy')).map(({ state }) => state),
        ['failed'],
      )
      await instance.store.remove('jammy')
      return { size: body.length, offset: 0, expected: [], bytes: streamOf(body) }
    }
    await scrubbed(instance.store, { repair: true, steps: ['digests'] })
    assert.is(seen.at(-1), 'deleted')
    assert.equal(contents(town), [])
  }),
)

heal.run()
