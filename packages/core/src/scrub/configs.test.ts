// What stands beside the bytes: backing.cfg is written anew where it is wrong, the rest is told of.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesKey, configKey, corruptKey } from '../layout.ts'
import { type Town, inTown, put } from '../testing/rig.ts'
import { faultsOf, notesOf, rot, scrubbed, thrice } from '../testing/scrubbing.ts'

const configs = suite('scrub: backing.cfg and block indexes')

configs(
  'a missing or edited backing.cfg is a fault, and is written as it was',
  inTown(async (town) => {
    const { store } = await town.open()
    const [one, two] = [await put(store, 'jammy', 1), await put(store, 'noble', 2)]
    const keys = [configKey('jammy', one.uuid), configKey('noble', two.uuid)] as const
    const before = keys.map((key) => town.text(key))
    town.medium.remove(keys[0])
    town.plant(keys[1], town.text(keys[1]).replace('"size":4096', '"size":4097'))
    const [dry, mended, again] = await thrice(store, ['configs'])
    assert.equal(faultsOf(dry), [`configs ${keys[0]} possible`, `configs ${keys[1]} possible`])
    assert.match(dry.findings[1]?.what ?? '', 'in size')
    assert.equal(faultsOf(mended), [`configs ${keys[0]} done`, `configs ${keys[1]} done`])
    assert.equal(again, [])
    assert.equal(
      keys.map((key) => town.text(key)),
      before,
    )
  }),
)

configs(
  'a backing.cfg of another time is a note; what only its own ingest knew is nobody else’s fault',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const key = configKey('jammy', image.uuid)
    const text = town.text(key)
    const sum = `"expectedChecksum":"${image.checksums.sha512}"`
    town.plant(
      key,
      text.replace('"expectedChecksum":""', sum).replace('"realSize":4096', '"realSize":1'),
    )
    assert.equal((await scrubbed(store, { steps: ['configs'] })).findings, [])
    town.plant(key, text.replace(/UTC/, 'CET'))
    const [dry, mended] = await thrice(store, ['configs'])
    assert.equal(notesOf(dry), [`configs ${key} possible`])
    assert.equal(notesOf(mended), [`configs ${key} done`])
    assert.is(town.text(key), text)
  }),
)

/** Changes a byte as a program does: the file has another time then. */
function scribble(town: Town, key: string): void {
  rot(town, key)
  town.medium.write(key, town.medium.objects.get(key)?.body ?? new Uint8Array(0))
}

for (const steps of [['configs'], ['digests', 'configs'], []]) {
  configs(
    `corrupt bytes are never vouched for to Longhorn (${steps.join() || 'all steps'})`,
    inTown(async (town) => {
      const { store } = await town.open()
      const image = await put(store, 'jammy', 1)
      const key = configKey('jammy', image.uuid)
      const before = town.text(key)
      town.pass(1)
      scribble(town, bytesKey('jammy', image.uuid))
      for (let round = 0; round < 2; round++) {
        const { findings } = await scrubbed(store, { steps, repair: true })
        assert.is(town.text(key), before)
        const told = findings.find(({ step }) => step === 'configs')
        const isMarked = town.keys().includes(corruptKey('jammy', image.uuid))
        assert.is(told?.level, isMarked ? 'note' : 'fault')
        assert.is(told?.repair, isMarked ? 'none' : 'failed')
        assert.match(told?.what ?? '', isMarked ? 'known to be corrupt' : 'not what was stored')
      }
      town.medium.remove(key)
      await scrubbed(store, { steps, repair: true })
      assert.not.ok(town.keys().includes(key), 'a missing one is not made either')
    }),
  )
}

configs(
  'a file that only has another time is read once before backing.cfg says so, in one scrub',
  inTown(async (town) => {
    const { store, backend } = await town.open()
    const image = await put(store, 'jammy', 1)
    const key = bytesKey('jammy', image.uuid)
    let reads = 0
    backend.before = (verb, each) => {
      if (verb === 'get' && each === key) reads += 1
    }
    for (const steps of [['configs'], []]) {
      town.pass(1)
      town.medium.write(key, town.medium.objects.get(key)?.body ?? new Uint8Array(0))
      reads = 0
      const report = await scrubbed(store, { steps, repair: true })
      assert.equal(notesOf(report), [`configs ${configKey('jammy', image.uuid)} done`])
      assert.is(reads, 1)
    }
    await scrubbed(store, { steps: ['configs'], repair: true })
    assert.is(reads, 1, 'what agrees is not read')
  }),
)

configs(
  'a damaged block index is made anew while the bytes are read, and only with repair',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const key = `jammy-${image.uuid}/blocks`
    const before = town.text(key)
    for (const damaged of ['', 'x'.repeat(34)]) {
      town.plant(key, damaged)
      const steps = ['blocks', 'digests']
      const [dry, mended, again] = await thrice(store, steps)
      const bytes = bytesKey('jammy', image.uuid)
      assert.equal(faultsOf(dry), [`blocks ${bytes} none`])
      assert.match(dry.findings[0]?.what ?? '', 'scrub with repair')
      assert.equal(notesOf(mended), [`digests ${key} done`])
      assert.equal(again, [])
      assert.is(town.text(key), before)
      assert.ok(await (await store.blocks('jammy')).read())
    }
  }),
)

configs(
  'a damaged block index stays as it is beside corrupt bytes',
  inTown(async (town) => {
    const { store } = await town.open()
    const image = await put(store, 'jammy', 1)
    const key = `jammy-${image.uuid}/blocks`
    town.plant(key, 'x')
    rot(town, bytesKey('jammy', image.uuid))
    await scrubbed(store, { repair: true })
    assert.is(town.text(key), 'x')
  }),
)

configs(
  'a block index of the wrong length is a fault, a missing one a note',
  inTown(async (town) => {
    const { store } = await town.open()
    const [one, two, three] = [
      await put(store, 'jammy', 1),
      await put(store, 'noble', 2),
      await put(store, 'zesty', 3),
    ]
    town.plant(`jammy-${one.uuid}/blocks`, 'x'.repeat(33))
    town.plant(`noble-${two.uuid}/blocks`, 'x'.repeat(34))
    town.medium.remove(`zesty-${three.uuid}/blocks`)
    const report = await scrubbed(store, { steps: ['blocks'], repair: true })
    assert.equal(
      report.findings.map(({ level, key }) => `${level} ${key}`),
      [`fault ${bytesKey('noble', two.uuid)}`, `note ${bytesKey('zesty', three.uuid)}`],
    )
  }),
)

configs.run()
