// What stands beside the bytes: backing.cfg is written anew where it is wrong, the rest is told of.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesKey, configKey } from '../layout.ts'
import { inTown, put } from '../testing/rig.ts'
import { faultsOf, notesOf, scrubbed, thrice } from '../testing/scrubbing.ts'

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
