// `delete`, and what every process sees of it and of `put`, and the keys that every verb refuses.

import assert from 'node:assert/strict'
import { type Backend, bytesOf } from '../../backend.ts'
import { type Case, absent, content, listed, read, refuses, same } from './case.ts'
import { inChunks } from './source.ts'

/** Makes a key and removes it, again and again; half of the time with ifAbsent. */
async function churn(by: Backend, key: string): Promise<void> {
  for (let round = 0; round < 50; round += 1) {
    const body = `${key} ${round}`
    await by.put(key, bytesOf(body), { ifAbsent: round % 2 === 0 })
    assert.equal((await read(by, key)).toString(), body)
    await by.delete(key)
    await refuses('not_found', () => by.stat(key), 'stat after delete')
  }
}

export const deleteCases: Case[] = [
  {
    name: 'a deleted key is gone, and its neighbours stay',
    async run(backend, other) {
      for (const key of ['d/a', 'd/b', 'd/c/d', 'e']) await backend.put(key, bytesOf(key))
      await backend.delete('d/b')
      await absent('d/b', backend, other)
      assert.deepEqual(await listed(other), ['d/a', 'd/c/d', 'e'])
      assert.equal((await read(other, 'd/a')).toString(), 'd/a')
    },
  },
  {
    name: 'deleting what is absent is success, and removes nothing',
    async run(backend, other) {
      await backend.delete('d/absent/deep')
      await backend.put('d/x', bytesOf('x'))
      // The beginning of a key, its continuation, and a neighbour.
      for (const key of ['d', 'd/x/y', 'd/y', 'q']) await backend.delete(key)
      await other.delete('d/y')
      assert.deepEqual(await listed(other), ['d/x'])
      await backend.delete('d/x')
      await backend.delete('d/x')
      assert.deepEqual(await listed(backend), [])
    },
  },
  {
    name: 'the parents that a delete empties go too, so that they may become keys',
    async run(backend, other) {
      await backend.put('p/q', bytesOf('deep'))
      await backend.put('r/s/t/u', bytesOf('deep'))
      await backend.put('r/s/v', bytesOf('stays'))
      await backend.delete('p/q')
      await backend.delete('r/s/t/u')
      await backend.put('p', bytesOf('p'))
      await backend.put('r/s/t', bytesOf('t'))
      assert.deepEqual(await listed(other), ['p', 'r/s/t', 'r/s/v'])
      await other.delete('p')
      await other.put('p/q', bytesOf('again'))
      assert.equal((await read(backend, 'p/q')).toString(), 'again')
    },
  },
  {
    name: 'a put succeeds in a folder that a racing delete empties',
    async run(backend, other) {
      await Promise.all([churn(backend, 'race/f/a'), churn(other, 'race/f/b')])
      assert.deepEqual(await listed(backend), [])
      await backend.put('race', bytesOf('x'))
    },
  },
  {
    name: 'after put or delete resolves every process sees it, also one that has just looked',
    async run(backend, other) {
      for (let round = 0; round < 10; round += 1) {
        const [writer, reader] = round % 2 === 0 ? [backend, other] : [other, backend]
        const body = content(100 + round, round + 1)
        // A miss that was looked up must not be remembered.
        await absent('v/w/x', reader)
        await writer.put('v/w/x', bytesOf(body))
        assert.equal((await reader.stat('v/w/x')).size, body.length)
        same(await read(reader, 'v/w/x'), body, 'the new object')
        assert.deepEqual(await listed(reader, 'v/w/'), ['v/w/x'])
        const next = content(100 + round, round + 100)
        await writer.put('v/w/x', bytesOf(next))
        same(await read(reader, 'v/w/x'), next, 'the replaced object')
        await writer.delete('v/w/x')
        await absent('v/w/x', reader)
      }
    },
  },
  {
    name: 'a bad key is invalid_argument in every verb, before the source is read',
    async run(backend, other) {
      const bad = ['../x', '/x', '', 'a//b', '.tmp/x', 'a\0b', 'a/../b', 'a/', '.', '.jobs', 'a/.b']
      for (const key of [...bad, 'x'.repeat(201), 'a b', 'a\\b', 'ä']) {
        const what = JSON.stringify(key)
        const source = inChunks(content(10))
        const put = async (): Promise<unknown> => await backend.put(key, source)
        await refuses('invalid_argument', put, `put of ${what}`)
        assert.equal(source.pulls, 0, `put of ${what} read its source`)
        const get = async (): Promise<unknown> => await backend.get(key)
        await refuses('invalid_argument', get, `get of ${what}`)
        const stat = async (): Promise<unknown> => await backend.stat(key)
        await refuses('invalid_argument', stat, `stat of ${what}`)
        const remove = async (): Promise<unknown> => await backend.delete(key)
        await refuses('invalid_argument', remove, `delete of ${what}`)
      }
      for (const prefix of ['a', '../', '/', 'a//', '.tmp/', 'a\0/', 'a/../', './']) {
        const list = async (): Promise<unknown> => await listed(backend, prefix)
        await refuses('invalid_argument', list, `list of ${JSON.stringify(prefix)}`)
      }
      assert.deepEqual(await listed(other), [])
    },
  },
  {
    name: 'the reserved first parts are keys like others',
    async run(backend, other) {
      const keys = ['.catalog/ab/1.json', '.jobs/ab-0123abcd/1.json', '.marks/ab-0123abcd/m.json']
      for (const key of keys) {
        await backend.put(key, bytesOf(key), { ifAbsent: true })
        assert.equal((await read(other, key)).toString(), key)
      }
      assert.deepEqual(await listed(other), keys)
      for (const key of keys) {
        await backend.delete(key)
        await absent(key, backend, other)
      }
    },
  },
]
