// A scan shows what a list and a get of each would, whether a thread reads the real file system or a
// test's own is read call by call.

import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesOf, readAll } from '@backing-image/core'
import { LocalBackend, nodeDisk } from './index.ts'
import { withFolder } from './testing/folder.ts'

const scanning = suite('local: scan')
const prefix = '.catalog/'
const none: ReadonlyMap<string, string> = new Map()

async function scanned(
  backend: LocalBackend,
  known: ReadonlyMap<string, string> = none,
): Promise<Map<string, string | undefined>> {
  const found = new Map<string, string | undefined>()
  for await (const { stat, content } of backend.scan(prefix, known)) {
    assert.not.ok(found.has(stat.key), `${stat.key} twice`)
    assert.equal(stat, await backend.stat(stat.key))
    found.set(stat.key, content && Buffer.from(content).toString())
  }
  return found
}

async function listed(backend: LocalBackend): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for await (const { key } of backend.list(prefix)) {
    found.set(key, (await readAll(await backend.get(key), 4 * 1024 * 1024)).toString())
  }
  return found
}

function inOrder(found: ReadonlyMap<string, string | undefined>): [string, string | undefined][] {
  return [...found].toSorted(([a], [b]) => (a < b ? -1 : 1))
}

for (const [how, disk] of [
  ['by a thread', undefined],
  ['call by call', nodeDisk],
] as const) {
  const open = (root: string) => LocalBackend.open({ root, ...(disk && { disk }) })

  scanning(`${how}: every object once, with its content`, () =>
    withFolder(async (root) => {
      const backend = await open(root)
      for (let index = 0; index < 600; index++) {
        await backend.put(`.catalog/n${index % 50}/${index}.json`, bytesOf(`{"n":${index}}`))
      }
      await backend.put('.catalog/large/1.json', bytesOf(Buffer.alloc(2 * 1024 * 1024, 1)))
      await backend.put('elsewhere/1.json', bytesOf('x'))
      // Of somebody else: neither a link nor a name that is in no key.
      symlinkSync('/etc/passwd', join(root, '.catalog/n1/link.json'))
      mkdirSync(join(root, '.catalog/odd name'))
      writeFileSync(join(root, '.catalog/odd name/1.json'), '{}')
      const found = await scanned(backend)
      assert.is(found.size, 601)
      assert.is(found.get('.catalog/large/1.json'), undefined)
      found.delete('.catalog/large/1.json')
      const expected = await listed(backend)
      expected.delete('.catalog/large/1.json')
      assert.equal(inOrder(found), inOrder(expected))
      await backend.close()
    }),
  )

  scanning(`${how}: what is known comes without content, what changed with it`, () =>
    withFolder(async (root) => {
      const backend = await open(root)
      const same = await backend.put('.catalog/ab/1.json', bytesOf('same'))
      const old = await backend.put('.catalog/ab/2.json', bytesOf('old'))
      await backend.put('.catalog/ab/2.json', bytesOf('new'))
      const known = new Map([same, old].map(({ key, tag }) => [key, tag]))
      const found = await scanned(backend, known)
      assert.equal(inOrder(found), [
        ['.catalog/ab/1.json', undefined],
        ['.catalog/ab/2.json', 'new'],
      ])
      await backend.close()
    }),
  )

  scanning(`${how}: nothing is an empty scan, and one that is left early does no harm`, () =>
    withFolder(async (root) => {
      const backend = await open(root)
      assert.is((await scanned(backend)).size, 0)
      for (let index = 0; index < 300; index++) {
        await backend.put(`.catalog/n${index}/1.json`, bytesOf('x'))
      }
      for await (const { stat } of backend.scan(prefix, none)) {
        assert.ok(stat.key.startsWith(prefix))
        break
      }
      assert.is((await scanned(backend)).size, 300)
      await backend.close()
    }),
  )
}

scanning.run()
