// Records that can not be read, and records without bytes: of the latter only those go that nobody was
// ever told of.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesKey, markKey, recordKey } from '../layout.ts'
import { inTown, put } from '../testing/rig.ts'
import { faultsOf, notesOf, scrubbed, thrice } from '../testing/scrubbing.ts'

const records = suite('scrub: records')

records(
  'a record that can not be read is a fault, and is left as it is',
  inTown(async (town) => {
    const { store } = await town.open()
    town.plant(recordKey('jammy', '1'), '{"layout":1')
    town.plant('.catalog/jammy/notes.txt', 'somebody else')
    const [dry, mended, again] = await thrice(store, ['records'])
    assert.equal(faultsOf(dry), ['records .catalog/jammy/1.json none'])
    assert.equal(notesOf(dry), ['records .catalog/jammy/notes.txt -'])
    assert.equal(faultsOf(mended), faultsOf(dry))
    assert.equal(again, faultsOf(dry))
  }),
)

records(
  'the record of another key is a fault',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    town.plant(recordKey('jammy', '2'), town.text(recordKey('jammy', '1')))
    const report = await scrubbed(store, { steps: ['records'] })
    assert.equal(faultsOf(report), ['records .catalog/jammy/2.json none'])
  }),
)

records(
  'a record whose bytes were deleted was never acknowledged: a repair removes it',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    town.plant(markKey('jammy', image.uuid, '0123'), '{}')
    town.medium.remove(bytesKey('jammy', image.uuid))
    const young = await scrubbed(store, { steps: ['records'] })
    assert.equal(faultsOf(young), [], 'its publisher may be about to withdraw it')
    assert.equal(notesOf(young), ['records .catalog/jammy/1.json possible'])
    town.pass(2)
    const [dry, mended, again] = await thrice(store, ['records'])
    assert.equal(faultsOf(dry), ['records .catalog/jammy/1.json possible'])
    assert.equal(faultsOf(mended), ['records .catalog/jammy/1.json done'])
    assert.equal(again, [])
    assert.not.ok(town.keys().includes(recordKey('jammy', '1')))
  }),
)

records(
  'a record whose bytes somebody else took away stays: it tells what they were',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    town.medium.remove(bytesKey('jammy', image.uuid))
    const [dry, mended] = await thrice(store, ['records'])
    assert.equal(faultsOf(dry), ['records .catalog/jammy/1.json none'])
    assert.is(dry.findings[0]?.expected, `sha512:${image.checksums.sha512}`)
    assert.equal(faultsOf(mended), faultsOf(dry))
    assert.ok(town.keys().includes(recordKey('jammy', '1')))
  }),
)

records.run()
