// `put` with `ifAbsent`: of any number of racing writers exactly one succeeds.

import assert from 'node:assert/strict'
import { bytesOf, exclusiveBytesMax } from '../../backend.ts'
import { isImageError } from '../../errors.ts'
import { type Case, absent, content, failsWith, kibibyte, listed, read } from './case.ts'
import { refuses, same } from './case.ts'
import { failing, inChunks } from './source.ts'

export const exclusiveCases: Case[] = [
  {
    name: 'ifAbsent creates, and never replaces, not even an empty object',
    async run(backend, other) {
      for (const [key, body] of Object.entries({ 'x/full': content(100), 'x/empty': content(0) })) {
        const { tag } = await backend.put(key, bytesOf(body), { ifAbsent: true })
        for (const late of [backend, other]) {
          const again = (): Promise<unknown> => late.put(key, bytesOf('late'), { ifAbsent: true })
          await refuses('already_exists', again, `a second put of ${key}`)
          same(await read(late, key), body, key)
          assert.equal((await late.stat(key)).tag, tag, `the tag of ${key}`)
        }
      }
      assert.deepEqual(await listed(other), ['x/empty', 'x/full'])
    },
  },
  {
    name: 'ifAbsent meets objects of plain puts, and plain puts replace what it made',
    async run(backend, other) {
      await backend.put('x/key', bytesOf('plain'))
      const late = (): Promise<unknown> => other.put('x/key', bytesOf('late'), { ifAbsent: true })
      await refuses('already_exists', late, 'ifAbsent over a plain object')
      await backend.delete('x/key')
      await other.put('x/key', bytesOf('first'), { ifAbsent: true })
      await backend.put('x/key', bytesOf('second'))
      assert.equal((await read(other, 'x/key')).toString(), 'second')
    },
  },
  {
    name: 'of 8 racing writers with ifAbsent exactly one wins, and its bytes are stored',
    async run(backend, other) {
      for (let round = 0; round < 10; round += 1) {
        const key = `race/${round}/1.json`
        const bodies = Array.from({ length: 8 }, (_, writer) =>
          content(round === 9 ? 200_000 + writer : 100 + writer, 8 * round + writer + 1),
        )
        const outcomes = await Promise.allSettled(
          bodies.map((body, writer) =>
            (writer % 2 === 0 ? backend : other).put(key, inChunks(body, 16 * kibibyte), {
              ifAbsent: true,
            }),
          ),
        )
        const winners = bodies.filter((_, writer) => outcomes[writer]?.status === 'fulfilled')
        assert.equal(winners.length, 1, `round ${round}: how many won`)
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') {
            const found = String(outcome.reason)
            assert.ok(isImageError(outcome.reason, 'already_exists'), `a loser got ${found}`)
          }
        }
        for (const reader of [backend, other]) {
          same(await read(reader, key), winners[0] ?? content(0), `round ${round}: the winner's`)
        }
      }
      assert.equal((await listed(backend, 'race/')).length, 10)
    },
  },
  {
    name: 'ifAbsent takes 1 MiB, and one byte more is invalid_argument',
    async run(backend, other) {
      const most = content(exclusiveBytesMax)
      await backend.put('x/most', inChunks(most, 64 * kibibyte), { ifAbsent: true })
      same(await read(other, 'x/most'), most, '1 MiB')
      for (const chunkBytes of [64 * kibibyte, exclusiveBytesMax + 1]) {
        const source = inChunks(content(exclusiveBytesMax + 1), chunkBytes)
        const put = (): Promise<unknown> => backend.put('x/over', source, { ifAbsent: true })
        await refuses('invalid_argument', put, 'one byte over 1 MiB')
        source.assertReadOnce()
        await absent('x/over', backend, other)
      }
    },
  },
  {
    name: 'a put that gives up on its source lets go of it exactly once',
    async run(backend) {
      const source = inChunks(content(2 * exclusiveBytesMax), 64 * kibibyte)
      const put = (): Promise<unknown> => backend.put('x/over', source, { ifAbsent: true })
      await refuses('invalid_argument', put, '2 MiB with ifAbsent')
      await source.assertLetGo()
      assert.ok(source.pulls <= 18, `read ${source.pulls} chunks of which 17 were too many`)
    },
  },
  {
    name: 'a failing source with ifAbsent leaves the key free',
    async run(backend, other) {
      for (const size of [0, 10, 100_000]) {
        const error = new Error(`the source failed after ${size} bytes`)
        const source = failing(content(size), 16 * kibibyte, error)
        await failsWith(error, backend.put('x/key', source, { ifAbsent: true }), error.message)
        await absent('x/key', backend, other)
      }
      await other.put('x/key', bytesOf('free'), { ifAbsent: true })
      assert.equal((await read(backend, 'x/key')).toString(), 'free')
    },
  },
]
