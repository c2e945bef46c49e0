// `list`: every committed key once, in byte order, and nothing else.

import assert from 'node:assert/strict'
import pLimit from 'p-limit'
import { bytesOf } from '../../backend.ts'
import { type Case, listed } from './case.ts'

export const listCases: Case[] = [
  {
    name: 'an empty store and an absent prefix list nothing',
    async run(backend, other) {
      for (const each of [backend, other]) {
        for (const prefix of ['', 'l/', 'l/m/', '.catalog/']) {
          assert.deepEqual(await listed(each, prefix), [], `prefix "${prefix}"`)
        }
      }
      await backend.put('l/x', bytesOf('x'))
      for (const prefix of ['k/', 'l/m/', 'l/x/', 'l/x/y/', '.jobs/']) {
        assert.deepEqual(await listed(other, prefix), [], `prefix "${prefix}"`)
      }
    },
  },
  {
    name: 'keys come in byte order, which is not the order of folders',
    async run(backend, other) {
      const keys = ['a/x', 'a-b/x', 'a.b/x', 'aa', 'a/x-y/z', 'a/x.y', 'a/xy', 'B/x', 'a_b', 'a0']
      keys.push('a/X', 'a/b/c/d', 'a/b-c', 'a/b.c/d', 'Z', '9', '10', '.catalog/a/1', '.marks/z')
      for (const key of keys) await backend.put(key, bytesOf(key))
      // Keys are ASCII: the order of code units is that of bytes.
      const inOrder = keys.toSorted()
      assert.deepEqual(await listed(backend), inOrder)
      assert.deepEqual(await listed(other), inOrder)
      for (const prefix of ['a/', 'a/b/', 'a-b/', '.catalog/', '.catalog/a/']) {
        const expected = inOrder.filter((key) => key.startsWith(prefix))
        assert.ok(expected.length > 0)
        assert.deepEqual(await listed(other, prefix), expected, `prefix "${prefix}"`)
      }
    },
  },
  {
    name: 'list tells the size of each object',
    async run(backend, other) {
      for (const size of [0, 1, 5_000]) await backend.put(`l/${size}`, bytesOf('x'.repeat(size)))
      const sizes: [string, number][] = []
      for await (const stat of other.list('l/')) sizes.push([stat.key, stat.size])
      assert.deepEqual(sizes, [
        ['l/0', 0],
        ['l/1', 1],
        ['l/5000', 5_000],
      ])
    },
  },
  {
    name: '2,500 keys are listed once each, over every page',
    async run(backend, other) {
      const limit = pLimit(32)
      const keys = Array.from({ length: 2_500 }, (_, index) => `n/${10_000 + index}`)
      await Promise.all(keys.map((key) => limit(() => backend.put(key, bytesOf('')))))
      assert.deepEqual(await listed(backend, 'n/'), keys)
      assert.deepEqual(await listed(other), keys)
    },
  },
  {
    name: 'a key that is there for the whole of a list is in it, whatever comes and goes',
    async run(backend, other) {
      const stays = Array.from({ length: 30 }, (_, index) => `l/${10 + index}/x`)
      for (const key of stays) await backend.put(key, bytesOf('x'))
      const state = { over: false }
      const churn = async (): Promise<void> => {
        for (let round = 0; !state.over; round += 1) {
          const key = `l/${10 + (round % 30)}/${round % 2 === 0 ? 'a' : 'y'}`
          await other.put(key, bytesOf('x'))
          await other.delete(key)
        }
      }
      const watch = async (): Promise<void> => {
        try {
          for (let round = 0; round < 10; round += 1) {
            const seen = await listed(backend, 'l/')
            assert.deepEqual(seen, [...new Set(seen)].toSorted(), 'the order')
            const kept = seen.filter((key) => key.endsWith('/x'))
            assert.deepEqual(kept, stays, `round ${round}`)
          }
        } finally {
          state.over = true
        }
      }
      await Promise.all([churn(), watch()])
    },
  },
  {
    name: 'a list may be stopped early',
    async run(backend) {
      for (const key of ['l/a', 'l/b', 'l/c']) await backend.put(key, bytesOf('x'))
      for (let round = 0; round < 10; round += 1) {
        for await (const stat of backend.list('')) {
          assert.equal(stat.key, 'l/a')
          break
        }
      }
    },
  },
]
