// What a scrub is as a whole: nothing is wrong where nothing is, nothing changes in a dry run, and what
// others do meanwhile is no fault.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesKey, configKey, markKey, recordKey } from '../layout.ts'
import { disk, failOnce, failure, half, inTown, put, request, streamOf } from '../testing/rig.ts'
import { faultsOf, notesOf, rot, scrubbed } from '../testing/scrubbing.ts'
import { addFinding, beginReport, findingsMax } from './report.ts'
import { scrubSteps } from './steps.ts'

const steps = suite('scrub: steps')

steps(
  'a store in which all is well has no faults, whatever happened in it',
  inTown(async (town) => {
    const { store } = await town.open()
    await put(store, 'jammy', 1)
    await put(store, 'jammy', 2)
    await store.rollback('jammy', '1')
    await put(store, 'noble', 3)
    await store.remove('noble')
    await failOnce(store, 'focal')
    const uploading = await half(store, 'bionic')
    const report = await scrubbed(store)
    assert.equal(faultsOf(report), [])
    assert.equal(notesOf(report), [])
    assert.is(report.state, 'done')
    assert.equal(
      report.steps.map(({ name, state }) => `${name} ${state}`),
      scrubSteps.map(({ name }) => `${name} done`),
    )
    await uploading.go()
  }),
)

steps(
  'a dry run writes and deletes nothing but its own report, however much is wrong',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1)
    rot(town, bytesKey('jammy', image.uuid))
    town.plant(recordKey('jammy', '9'), 'no record')
    town.medium.remove(configKey('jammy', image.uuid))
    town.plant(bytesKey('noble', '0badcafe'), 'left')
    town.plant(markKey('noble', '0badcafe', '0123'), '{}')
    town.plant('.jobs/jammy-0badcafe/cancel.json', '{}')
    town.pass(24 * 8)
    const before = town.keys().filter((key) => !key.startsWith('.jobs/SCRUB/'))
    const changes: string[] = []
    backend.before = (verb, key) => {
      if (verb === 'put' || verb === 'delete') changes.push(`${verb} ${key}`)
    }
    const report = await scrubbed(store)
    backend.before = undefined
    assert.equal(
      changes.filter((each) => !each.includes(' .jobs/SCRUB/')),
      [],
    )
    assert.equal(
      town.keys().filter((key) => !key.startsWith('.jobs/SCRUB/')),
      before,
    )
    assert.ok(report.faults >= 4, `${report.faults} faults`)
    assert.is(report.repaired, 0)
  }),
)

steps(
  'one step is enough when one is asked for, and an unknown one is refused',
  inTown(async (town) => {
    const { store } = await town.open()
    const report = await scrubbed(store, { steps: ['marks', 'records'] })
    assert.equal(
      report.steps.map(({ name }) => name),
      ['records', 'marks'],
    )
    const error = await failure(store.scrubs.start({ steps: ['records', 'magic'] }))
    assert.is(error.code, 'invalid_argument')
    assert.match(error.message, 'orphans')
    assert.is(town.keys('.jobs/SCRUB/').length, 1)
  }),
)

steps('of more findings than are kept, faults rather than notes are', () => {
  const report = beginReport('0', scrubSteps, { repair: false, rate: 1 })
  const [step] = report.steps
  if (!step) throw new Error('there is no step')
  const note = { step: 'records', level: 'note', what: '' } as const
  for (let count = 0; count < findingsMax + 5; count++) addFinding(report, step, note)
  addFinding(report, step, { ...note, level: 'fault' })
  assert.is(report.findings.length, findingsMax)
  assert.is(report.findings.at(-1)?.level, 'fault')
  assert.is(report.findingsLeftOff, 6)
  assert.is(report.notes, findingsMax + 5)
  assert.is(report.faults, 1)
})

steps(
  'an image that is deleted or published while each step looks is no fault',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const other = await town.open()
    for (const name of ['jammy', 'noble', 'focal']) await put(store, name, 1)
    const names = ['jammy', 'noble', 'focal', 'bionic', 'xenial']
    let turns = 0
    let isBusy = false
    // Before every verb of the scrub something else happens in the store.
    backend.before = async (verb, key) => {
      if (isBusy || key.startsWith('.jobs/SCRUB/')) return
      isBusy = true
      const name = names[turns % names.length] ?? ''
      turns += 1
      if (turns % 3 === 0) await other.store.remove(name).catch(() => {})
      else {
        const body = disk(turns)
        await other.store.ingest(request(name), () => streamOf(body)).catch(() => {})
      }
      isBusy = false
    }
    const dry = await scrubbed(store)
    const mended = await scrubbed(store, { repair: true })
    backend.before = undefined
    for (const report of [dry, mended]) {
      assert.is(report.state, 'done', report.message)
      assert.equal(faultsOf(report), [], `after ${turns} turns`)
    }
    assert.ok(turns > 40, `${turns} turns`)
    for (const name of names) {
      for (const { version, state } of await store.versions(name)) {
        if (state === 'ready') await (await store.open(name, { version })).read()
      }
    }
  }),
)

steps.run()
