// A look at the catalog begins when it is asked for, reads what is new once, and what can not be read
// stands in the way of removing only what it may name.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { exclusiveBytesMax } from './backend.ts'
import { Catalog } from './catalog.ts'
import { bytesKey, recordKey } from './layout.ts'
import { formatRecord } from './record.ts'
import { MemoryBackend } from './testing/memory.ts'
import { type Town, inTown, latch, put } from './testing/rig.ts'
import { owning, record, sharing } from './testing/publishing.ts'

const looking = suite('look')

function catalogOf(town: Town): { catalog: Catalog; backend: MemoryBackend; problems: Error[] } {
  const backend = new MemoryBackend({ shared: town.medium })
  const problems: Error[] = []
  return { catalog: new Catalog(backend, (error) => problems.push(error)), backend, problems }
}

looking(
  'a record names its bytes at any position, whatever name it has',
  inTown(async (town) => {
    town.plant(recordKey('cd', '1'), formatRecord(record(sharing)))
    const { catalog } = catalogOf(town)
    const look = await catalog.look()
    assert.ok(look.names(owning))
    assert.ok(look.names(sharing))
    assert.not(look.names({ ...owning, uuid: '0000abce' }))
    assert.not(look.names({ ...owning, name: 'abc' }))
    assert.not(look.names(owning, ({ name }) => name !== 'cd'))
    assert.not((await catalog.look('ab')).names(owning), 'of one name alone')
  }),
)

looking(
  'a look that waits for one under way shows what was there when it was asked for',
  inTown(async (town) => {
    const { catalog, backend } = catalogOf(town)
    const listed = latch()
    const goOn = latch()
    backend.before = async (verb) => {
      if (verb !== 'get') return
      listed.open()
      await goOn.opened
    }
    town.plant(recordKey('ab', '1'), formatRecord(record()))
    const first = catalog.look()
    await listed.opened
    town.plant(recordKey('cd', '1'), formatRecord(record(sharing)))
    const [second, third] = [catalog.look(), catalog.look()]
    goOn.open()
    assert.is((await first).records().length, 1)
    assert.is((await second).records().length, 2)
    assert.is(await second, await third, 'those that wait share one')
  }),
)

looking(
  'what has not changed is not read again, also when it can not be read',
  inTown(async (town) => {
    const { catalog, backend, problems } = catalogOf(town)
    town.plant(recordKey('ab', '1'), formatRecord(record()))
    town.plant(recordKey('ab', '2'), 'broken')
    await catalog.look()
    const read: string[] = []
    backend.before = (verb, key) => {
      if (verb === 'get') read.push(key)
    }
    await catalog.refresh()
    assert.is((await catalog.look('ab')).records().length, 1)
    assert.equal(read, [])
    town.plant(recordKey('ab', '2'), formatRecord(record(owning, '2')))
    assert.is((await catalog.look()).records().length, 2)
    assert.equal(read, [recordKey('ab', '2')])
    assert.is(problems.length, 1)
  }),
)

const broken: Record<string, { key: string; text: string; mayName: boolean }> = {
  'of the same name': { key: recordKey('ab', '2'), text: 'broken', mayName: true },
  'of another name': { key: recordKey('cd', '1'), text: 'broken', mayName: false },
  'of another name, that speaks of them': {
    key: recordKey('cd', '1'),
    text: formatRecord(record(sharing)).slice(0, 200),
    mayName: true,
  },
  'that is another key’s': {
    key: recordKey('xy', '1'),
    text: formatRecord(record()),
    mayName: true,
  },
  'that speaks of others with a like name': {
    key: recordKey('cd', '1'),
    text: '"x-ab-0000abcd/backing" "ab-0000abcd1"',
    mayName: false,
  },
  'of a later layout': { key: recordKey('cd', '1'), text: '{"layout": 3}', mayName: true },
  'of a layout that is none': {
    key: recordKey('cd', '1'),
    text: '{"layout": "x"}',
    mayName: false,
  },
  'that is null': { key: recordKey('cd', '1'), text: 'null', mayName: false },
  'that is empty': { key: recordKey('cd', '1'), text: '', mayName: false },
  'under no key of a record': { key: '.catalog/ab/notes.txt', text: 'ab-0000abcd', mayName: false },
  'that is too large for a record': {
    key: recordKey('cd', '1'),
    text: 'ab-0000abcd '.padEnd(exclusiveBytesMax + 1),
    mayName: false,
  },
}

for (const [what, { key, text, mayName }] of Object.entries(broken)) {
  looking(
    `a record that can not be read, ${what}, ${mayName ? 'may name' : 'does not name'} bytes`,
    inTown(async (town) => {
      town.plant(key, text)
      const { catalog, problems } = catalogOf(town)
      assert.is((await catalog.look()).names(owning), mayName)
      assert.is((await catalog.look()).names(owning), mayName, 'nor the second time')
      assert.equal((await catalog.look()).records(), [])
      if (parses(text)) return
      assert.is(problems.length > 0, key.endsWith('.json'))
    }),
  )
}

function parses(text: string): boolean {
  return text.includes('"id-1"') && text.endsWith('}\n')
}

looking(
  'a broken record of another name does not stand in the way of deleting',
  inTown(async (town) => {
    const { store } = await town.open()
    const { uuid } = await put(store, 'jammy', 1)
    town.plant(recordKey('noble', '1'), 'broken')
    await store.remove('jammy')
    assert.equal(town.unmarked(), [recordKey('noble', '1')])
    const again = await put(store, 'jammy', 1)
    assert.is.not(again.uuid, uuid)
    town.plant(recordKey('jammy', 'x'), 'broken')
    await store.remove('jammy')
    assert.ok(town.keys().includes(bytesKey('jammy', again.uuid)), 'it may name them')
  }),
)

looking.run()
