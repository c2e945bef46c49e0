// What nobody names any more goes if it is ours and old enough; what others keep is never touched.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesKey, claimKey, configKey, markKey, recordKey, sourceKey } from '../layout.ts'
import { plantTwin } from '../testing/healing.ts'
import { MemoryBackend } from '../testing/memory.ts'
import { failOnce, half, inTown, put } from '../testing/rig.ts'
import { faultsOf, notesOf, scrubbed, thrice } from '../testing/scrubbing.ts'

const orphans = suite('scrub: what is left behind')

orphans(
  'bytes that a mark of ours names and no record are removed; with them goes what is beside them',
  inTown(async (town) => {
    const { store } = await town.open()
    const left = [bytesKey('jammy', '0badcafe'), configKey('jammy', '0badcafe')]
    for (const key of left) town.plant(key, 'left')
    town.plant(markKey('jammy', '0badcafe', '0123'), '{}')
    const young = await scrubbed(store, { steps: ['orphans'] })
    assert.equal(faultsOf(young), [], 'its remover may be at it')
    assert.equal(notesOf(young), [`orphans ${left[0]} possible`])
    town.pass(2)
    const dry = await scrubbed(store, { steps: ['orphans'] })
    assert.equal(faultsOf(dry), [`orphans ${left[0]} possible`])
    const mended = await scrubbed(store, { steps: ['orphans'], repair: true })
    assert.equal(faultsOf(mended), [`orphans ${left[0]} done`])
    assert.not.ok(town.keys().some((key) => left.includes(key)))
  }),
)

orphans(
  'bytes of work that failed are removed; the failed image stays',
  inTown(async (town) => {
    const { store } = await town.open()
    await failOnce(store, 'jammy')
    const [failed] = await store.versions('jammy')
    const key = bytesKey('jammy', failed?.uuid ?? '')
    town.plant(key, 'left')
    for (const mark of town.keys('.marks/')) town.medium.remove(mark)
    town.pass(2)
    const report = await scrubbed(store, { steps: ['orphans'], repair: true })
    assert.equal(faultsOf(report), [`orphans ${key} done`])
    assert.not.ok(town.keys().includes(key))
    assert.is((await store.versions('jammy')).length, 1)
  }),
)

orphans(
  'what is not ours is noted and never touched, be it of our form',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    const foreign = ['jammy-0badcafe/backing', 'jammy-0badcafe/backing.cfg', 'films/a', 'notes.txt']
    for (const key of foreign) town.plant(key, 'not ours')
    for (let count = 0; count < 120; count++) town.plant(`zoo-${count}/cat`, 'not ours')
    town.pass(24 * 30)
    const before = town.keys().map((key) => [key, town.medium.objects.get(key)?.stat.tag])
    const report = await scrubbed(store, { steps: ['orphans'], repair: true })
    assert.equal(faultsOf(report), [])
    assert.is(report.notes, 1 + 100 + 1, 'one of our form, a hundred names, and how many more')
    assert.match(report.findings.at(-1)?.what ?? '', '22 more')
    const after = new Map(town.keys().map((key) => [key, town.medium.objects.get(key)?.stat.tag]))
    for (const [key, tag] of before) assert.is(after.get(String(key)), tag)
  }),
)

orphans(
  'an unfinished put that nobody works on is discarded, that of others never',
  inTown(async (town) => {
    const { store } = await town.open()
    const gone = new MemoryBackend({ shared: town.medium })
    for (const key of [bytesKey('jammy', '0badcafe'), 'films/alien.iso']) {
      void gone.put(key, hanging()).catch(() => {})
    }
    const uploading = await half(store, 'noble')
    const young = await scrubbed(store, { steps: ['unfinished'] })
    assert.equal(faultsOf(young), [], 'it may be being cancelled')
    assert.equal(notesOf(young), ['unfinished jammy-0badcafe/backing possible'])
    town.medium.kill(gone.owner)
    const dry = await scrubbed(store, { steps: ['unfinished'] })
    assert.equal(faultsOf(dry), ['unfinished jammy-0badcafe/backing possible'])
    const mended = await scrubbed(store, { steps: ['unfinished'], repair: true })
    assert.equal(faultsOf(mended), ['unfinished jammy-0badcafe/backing done'])
    const left = [...town.medium.unfinished.values()].map(({ key }) => key)
    assert.is(left.length, 2)
    assert.ok(left.includes('films/alien.iso'))
    assert.is((await uploading.go()).state, 'ready')
  }),
)

async function* hanging(): AsyncGenerator<Uint8Array> {
  yield Buffer.from('half')
  await new Promise(() => {})
}

orphans(
  'files of no job go when they are old, and the source of work that has ended; others’ stay',
  inTown(async (town) => {
    const { store } = await town.open()
    await failOnce(store, 'jammy')
    const [failed] = await store.versions('jammy')
    const source = sourceKey('jammy', failed?.uuid ?? '')
    town.plant(source, '{"parameters":{"url":"http://secret"}}')
    const stray = '.jobs/jammy-0badcafe/1.beat.json'
    town.plant(stray, '{}')
    // A take-over that was too late: the job has been removed.
    const late = '.jobs/jammy-0badcafe/2.json'
    town.plant(late, '{}')
    town.plant('.jobs/notes.txt', 'not ours')
    town.plant('.jobs/noble-0badcafe/1.json', 'no claim')
    const young = await scrubbed(store, { steps: ['jobs'] })
    assert.equal(faultsOf(young), ['jobs .jobs/noble-0badcafe/1.json none'])
    town.pass(2)
    const [dry, mended, again] = await thrice(store, ['jobs'])
    const unreadable = 'jobs .jobs/noble-0badcafe/1.json none'
    const faults = (repair: string): string[] => [
      `jobs ${source} ${repair}`,
      `jobs ${stray} ${repair}`,
      `jobs ${late} ${repair}`,
    ]
    assert.equal(faultsOf(dry).toSorted(), [...faults('possible'), unreadable].toSorted())
    assert.equal(faultsOf(mended).toSorted(), [...faults('done'), unreadable].toSorted())
    assert.equal(again, [unreadable])
    assert.equal(notesOf(dry), ['jobs .jobs/notes.txt -'])
    assert.ok(town.keys().includes('.jobs/notes.txt'))
    assert.not.match(JSON.stringify(dry), 'http://secret')
  }),
)

orphans(
  'a second copy of what is stored once goes, and not while its publisher may still need it',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const spare = plantTwin(town, image)
    const key = recordKey('twin', '1')
    const record = JSON.parse(town.text(key)) as { uuid: string }
    const keys = [bytesKey('jammy', image.uuid), spare]
    town.plant(key, JSON.stringify({ ...record, keys }))
    const claim = claimKey('twin', record.uuid, 1)
    town.plant(claim, JSON.stringify({ name: 'twin', uuid: record.uuid, owner: 'somebody' }))
    assert.equal((await scrubbed(store, { steps: ['spares'], repair: true })).findings, [])
    town.medium.remove(claim)
    const [dry, mended, again] = await thrice(store, ['spares'])
    assert.equal(faultsOf(dry), [`spares ${spare} possible`])
    assert.equal(faultsOf(mended), [`spares ${spare} done`])
    assert.equal(again, [])
    assert.not.ok(town.keys().includes(spare))
    assert.ok(town.keys().includes(bytesKey('jammy', image.uuid)))
    assert.is((await store.get('twin')).state, 'ready')
  }),
)

orphans(
  'marks of over a week are noted and go; younger ones stay',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    await store.remove('jammy')
    town.pass(24 * 7 - 1)
    assert.equal((await scrubbed(store, { steps: ['marks'] })).findings, [])
    town.pass(2)
    const [mark] = town.keys('.marks/')
    const [dry, mended] = await thrice(store, ['marks'])
    assert.equal(notesOf(dry), [`marks ${mark} possible`])
    assert.equal(notesOf(mended), [`marks ${mark} done`])
    assert.equal(town.keys('.marks/'), [])
  }),
)

orphans.run()
