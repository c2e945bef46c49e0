// The optional power Unfinished: what a put has not finished can be found, and thrown away.

import assert from 'node:assert/strict'
import { type Backend, type Stat, type Unfinished, type UnfinishedPut } from '../../backend.ts'
import { bytesOf, hasOwners, hasUnfinished } from '../../backend.ts'
import { type Case, absent, content, eventually, failsWith, listed, mebibyte } from './case.ts'
import { gate, read, soon } from './case.ts'
import { WatchedSource, failing } from './source.ts'

function withPower(backend: Backend): Backend & Unfinished {
  assert.ok(hasUnfinished(backend), `${backend.name} does not tell what is unfinished`)
  return backend
}

async function shownBy(backend: Backend): Promise<UnfinishedPut[]> {
  const puts: UnfinishedPut[] = []
  for await (const put of withPower(backend).unfinished()) puts.push(put)
  return puts
}

interface Interrupted {
  /** As `unfinished` shows it. */
  shown: UnfinishedPut
  written: Promise<Stat>
  abort: (reason: Error) => void
  /** Lets the source end, and the put with it. */
  finish: () => void
}

/** A put whose source gives bytes until the store shows the put, and then hangs. */
async function interrupt(backend: Backend, key: string): Promise<Interrupted> {
  const controller = new AbortController()
  const chunk = content(mebibyte)
  const finished = gate()
  const shows = gate<UnfinishedPut>()
  const source = new WatchedSource(async () => {
    const put = (await shownBy(backend)).find((each) => each.key === key)
    if (put !== undefined) {
      shows.open(put)
      await finished.opened
      return undefined
    }
    // Some stores know of a put only when its first part is full.
    assert.ok(source.pulls <= 64, 'a put of 64 MiB is not shown as unfinished')
    return chunk
  })
  const written = backend.put(key, source, { signal: controller.signal })
  const early = written.then(() => assert.fail('the put ended before its source'))
  const shown = await soon(Promise.race([shows.opened, early]), 'a put in flight is shown', 60_000)
  early.catch(() => undefined)
  return { shown, written, finish: finished.open, abort: (reason) => controller.abort(reason) }
}

export const unfinishedConformance: Case[] = [
  {
    name: 'a put in flight is shown with its key and its owner, and never listed',
    async run(backend, other) {
      await backend.put('u/old', bytesOf('old'))
      const { shown, written, finish } = await interrupt(backend, 'u/new')
      assert.ok(shown.id.length > 0)
      assert.equal(typeof shown.modifiedAt, 'bigint')
      if (hasOwners(backend)) assert.equal(shown.owner, backend.owner)
      for (const each of [backend, other]) {
        assert.deepEqual(
          (await shownBy(each)).map(({ id, key }) => ({ id, key })),
          [{ id: shown.id, key: 'u/new' }],
        )
        assert.deepEqual(await listed(each), ['u/old'])
      }
      await absent('u/new', backend, other)
      finish()
      const { size } = await written
      assert.equal((await read(other, 'u/new')).length, size)
      assert.deepEqual(await shownBy(other), [])
    },
  },
  {
    name: 'of a put that was aborted nothing is shown',
    async run(backend, other) {
      const reason = new Error('stop')
      const { written, abort } = await interrupt(backend, 'u/key')
      abort(reason)
      await failsWith(reason, written, 'the put')
      const none = async (): Promise<boolean> => (await shownBy(other)).length === 0
      await eventually(none, 'an aborted put is shown no more')
      await absent('u/key', backend, other)
    },
  },
  {
    name: 'of a put whose source failed nothing is shown',
    async run(backend, other) {
      const error = new Error('the source failed')
      const source = failing(content(9 * mebibyte), mebibyte, error)
      await failsWith(error, backend.put('u/key', source), 'the put')
      const none = async (): Promise<boolean> => (await shownBy(other)).length === 0
      await eventually(none, 'a failed put is shown no more')
    },
  },
  {
    name: 'a process tells its puts in flight apart by id',
    async run(backend, other) {
      const first = await interrupt(backend, 'u/one')
      const second = await interrupt(backend, 'u/two')
      const ids = (await shownBy(other)).map(({ id }) => id)
      assert.deepEqual(ids.toSorted(), [first.shown.id, second.shown.id].toSorted())
      assert.equal(new Set(ids).size, 2)
      for (const put of [first, second]) put.finish()
      await Promise.all([first.written, second.written])
      assert.deepEqual(await listed(other), ['u/one', 'u/two'])
    },
  },
  {
    name: 'discard of what is absent is success, and leaves committed objects',
    async run(backend, other) {
      await withPower(backend).discard('0123abcd')
      const { shown, written, finish } = await interrupt(backend, 'u/key')
      finish()
      const { size, tag } = await written
      for (const each of [backend, other]) {
        await withPower(each).discard(shown.id)
        await withPower(each).discard(shown.id)
      }
      const stat = await other.stat('u/key')
      assert.equal(stat.size, size)
      assert.equal(stat.tag, tag)
      assert.equal((await read(backend, 'u/key')).length, size)
    },
  },
]
