// The optional power Resumable: what a put left that failed, or whose process did, is gone on with by
// another, to exactly the same object; and nothing is left that nobody wants.

import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { type Backend, type Remains, type Resumable, bytesOf } from '../../backend.ts'
import { hasOwners, hasResumable, hasUnfinished } from '../../backend.ts'
import { afterOf, hang, piecesOf, put } from './attempt.ts'
import { type Case, absent, collect, content, eventually, failsWith } from './case.ts'
import { mebibyte, read, refuses, same, soon } from './case.ts'

const key = 'r-0123abcd/backing'
/** More than two parts of any store, and a few bytes that fill none. */
const cutBytes = 20 * mebibyte + 12_345

function withPower(backend: Backend): Backend & Resumable {
  assert.ok(hasResumable(backend), `${backend.name} does not tell what a put has left`)
  return backend
}

/** As other processes know it. */
function ownerOf(backend: Backend): string {
  return hasOwners(backend) ? backend.owner : 'unknown'
}

/** A put of the first bytes of `body` that fails then, and is kept. Resolves to what it told. */
async function leave(backend: Backend, body: Buffer, from?: Remains): Promise<number> {
  const error = new Error('the source failed')
  const attempt = put(backend, key, piecesOf(body, from, error), { ...afterOf(from), keep: true })
  await failsWith(error, attempt.written, 'the put')
  assert.equal(attempt.asked.length, 1, 'how often keep was asked')
  assert.ok(attempt.asked[0] === error, 'keep was asked with another error')
  attempt.source.assertReadOnce()
  const told = attempt.told()
  assert.ok(
    told > body.length / 2,
    `of ${body.length} bytes ${told} are durable when it has failed`,
  )
  return told
}

/** What `owner` left of a put that told so much, as `backend` sees it. */
async function remainsOf(backend: Backend, owner: string, told: number): Promise<Remains> {
  const remains = await withPower(backend).remains(key, owner, told)
  assert.ok(remains, 'what was kept is not there')
  assert.ok(remains.offset >= told, `${remains.offset} bytes are left, ${told} were durable`)
  return remains
}

/** Goes on with the rest of `whole`, and looks at what has come of it. */
async function goOn(backend: Backend, whole: Buffer, from: Remains, other: Backend): Promise<void> {
  const attempt = put(backend, key, piecesOf(whole, from), { ...afterOf(from), size: whole.length })
  assert.equal((await attempt.written).size, whole.length)
  attempt.source.assertReadOnce()
  for (const each of [backend, other]) same(await read(each, key), whole, 'the whole object')
}

/** Throws everything away that is left of the key; afterwards nothing is. */
async function discardAll(backend: Backend, other: Backend): Promise<void> {
  for (const id of await unfinishedOf(backend)) await discard(backend, id)
  assert.deepEqual(await unfinishedOf(other), [])
}

async function discard(backend: Backend, id: string): Promise<void> {
  assert.ok(hasUnfinished(backend), `${backend.name} can not discard`)
  await backend.discard(id)
}

async function unfinishedOf(backend: Backend): Promise<string[]> {
  assert.ok(hasUnfinished(backend), `${backend.name} does not tell what is unfinished`)
  const ids: string[] = []
  for await (const each of backend.unfinished()) if (each.key === key) ids.push(each.id)
  return ids
}

export const resumableConformance: Case[] = [
  {
    name: 'a put that failed and was kept is gone on with by another process, to the very object',
    async run(backend, other) {
      const whole = content(30 * mebibyte)
      const told = await leave(backend, whole.subarray(0, cutBytes))
      await absent(key, backend, other)
      for (const each of [backend, other]) {
        const remains = await remainsOf(each, ownerOf(backend), told)
        assert.ok(remains.offset <= cutBytes, `${remains.offset} bytes of ${cutBytes} are left`)
        assert.deepEqual(await unfinishedOf(each), [remains.id])
        const bytes = await remains.read?.()
        if (bytes) same(await collect(bytes), whole.subarray(0, remains.offset), 'what was left')
      }
      const remains = await remainsOf(other, ownerOf(backend), told)
      await goOn(other, whole, remains, backend)
      await discardAll(other, backend)
      for (const each of [backend, other]) same(await read(each, key), whole, 'the whole object')
    },
  },
  {
    name: 'what a successor has left in its turn is gone on with, too',
    async run(backend, other) {
      const whole = content(40 * mebibyte + 1)
      const told = await leave(backend, whole.subarray(0, cutBytes))
      const first = await remainsOf(other, ownerOf(backend), told)
      const toldAgain = await leave(other, whole.subarray(0, cutBytes + 9 * mebibyte), first)
      assert.ok(toldAgain > told, `${toldAgain} bytes are durable, and ${told} were before`)
      const second = await remainsOf(backend, ownerOf(other), toldAgain)
      await goOn(backend, whole, second, other)
      await discardAll(backend, other)
    },
  },
  {
    name: 'a put that failed with all of its bytes given needs no more of them',
    async run(backend, other) {
      const whole = content(16 * mebibyte)
      const told = await leave(backend, whole)
      const remains = await remainsOf(other, ownerOf(backend), told)
      assert.equal(remains.offset, whole.length)
      await goOn(other, whole, remains, backend)
      await discardAll(other, backend)
    },
  },
  {
    name: 'zeros count as what was given',
    async run(backend, other) {
      const whole = content(30 * mebibyte)
      whole.fill(0, 3 * mebibyte + 100, 25 * mebibyte)
      const told = await leave(backend, whole.subarray(0, cutBytes))
      const remains = await remainsOf(other, ownerOf(backend), told)
      await goOn(other, whole, remains, backend)
      await discardAll(other, backend)
    },
  },
  {
    name: 'without keep, or when it says no, nothing is left',
    async run(backend, other) {
      for (const keep of [undefined, false]) {
        const error = new Error('the source failed')
        const options = keep === undefined ? {} : { keep }
        const attempt = put(backend, key, piecesOf(content(cutBytes), undefined, error), options)
        await failsWith(error, attempt.written, 'the put')
        assert.equal(attempt.asked.length, keep === undefined ? 0 : 1)
        const none = async (): Promise<boolean> => (await unfinishedOf(other)).length === 0
        await eventually(none, 'a failed put that nobody wants is gone')
        const told = Math.max(1, attempt.told())
        const remains = await withPower(other).remains(key, ownerOf(backend), told)
        assert.equal(remains, undefined)
      }
    },
  },
  {
    name: 'of what nobody has left there are no remains',
    async run(backend, other) {
      const owner = ownerOf(backend)
      assert.equal(await withPower(other).remains(key, owner, 1), undefined)
      const told = await leave(backend, content(cutBytes))
      const keys = ['r-0123abcd/backing.cfg', 'r-0123abcd/back', 'r-0123abcd/backing/x', 'x']
      for (const each of keys) {
        assert.equal(await withPower(other).remains(each, owner, told), undefined, each)
      }
      await refuses('invalid_argument', () => withPower(other).remains('../x', owner, 1), 'a path')
      const { read: isRead } = await remainsOf(other, owner, told)
      // A store that goes on by itself needs no owner.
      const stranger = owner.slice(0, -1) + (owner.endsWith('0') ? '1' : '0')
      for (const each of isRead ? ['', '..', '../..', `${owner}/x`, stranger] : []) {
        assert.equal(await withPower(other).remains(key, each, told), undefined, each)
      }
      for (const each of [0, cutBytes + 1]) {
        assert.equal(await withPower(other).remains(key, owner, each), undefined, String(each))
      }
      await discardAll(other, backend)
    },
  },
  {
    name: 'what was discarded meanwhile is not gone on with: aborted, and nothing is there',
    async run(backend, other) {
      const whole = content(30 * mebibyte)
      const told = await leave(backend, whole.subarray(0, cutBytes))
      const remains = await remainsOf(other, ownerOf(backend), told)
      for (const each of [backend, other, other]) await discard(each, remains.id)
      assert.equal(await withPower(other).remains(key, ownerOf(backend), told), undefined)
      if (remains.read) await refuses('aborted', async () => await remains.read?.(), 'the read')
      else {
        const attempt = put(other, key, piecesOf(whole, remains), { after: remains })
        await refuses('aborted', () => attempt.written, 'the put')
      }
      await absent(key, backend, other)
      await discardAll(other, backend)
    },
  },
  {
    name: 'a put that begins anew takes no notice of what another has left',
    async run(backend, other) {
      const left = content(cutBytes)
      const told = await leave(backend, left)
      const whole = content(10 * mebibyte, 2)
      assert.equal((await put(other, key, piecesOf(whole)).written).size, whole.length)
      const remains = await remainsOf(other, ownerOf(backend), told)
      const bytes = await remains.read?.()
      if (bytes) same(await collect(bytes), left.subarray(0, remains.offset), 'what was left')
      for (const each of [backend, other]) same(await read(each, key), whole, 'the object')
      await discardAll(other, backend)
      same(await read(other, key), whole, 'the object')
    },
  },
  {
    name: 'a put that hangs for ever, as of a dead process, is gone on with, and may wake',
    async run(backend, other) {
      const { attempt, body, release } = await hang(backend, key, { keep: true })
      const told = attempt.told()
      const whole = Buffer.concat([body, content(mebibyte + 7, 3)])
      const remains = await remainsOf(other, ownerOf(backend), told)
      await goOn(other, whole, remains, backend)
      release()
      await assert.rejects(attempt.written, /released/)
      attempt.source.assertReadOnce()
      same(await read(other, key), whole, 'the object, after the first put has woken')
      await discardAll(other, backend)
    },
  },
  {
    name: 'an aborted put is kept when keep says so, and is asked before the put rejects',
    async run(backend, other) {
      const controller = new AbortController()
      const { attempt, body } = await hang(backend, key, { keep: true, signal: controller.signal })
      const told = attempt.told()
      const reason = new Error('stop')
      controller.abort(reason)
      await failsWith(reason, soon(attempt.written, 'the put'), 'the put')
      assert.equal(attempt.asked.length, 1, 'how often keep was asked')
      assert.ok(attempt.asked[0] === reason, 'keep was asked with another error')
      attempt.source.assertReadOnce()
      const remains = await remainsOf(other, ownerOf(backend), told)
      await goOn(other, body, remains, backend)
      await discardAll(other, backend)
    },
  },
  {
    name: 'a put that succeeds leaves nothing to go on from, and asks nobody',
    async run(backend, other) {
      const whole = content(cutBytes)
      const attempt = put(backend, key, piecesOf(whole), { keep: true })
      assert.equal((await attempt.written).size, whole.length)
      assert.deepEqual(attempt.asked, [])
      // What is told later than now would be seen.
      await pause(100)
      attempt.source.assertReadOnce()
      const told = attempt.told()
      assert.ok(told > cutBytes / 2, `${told} bytes were told to be durable`)
      assert.equal(await withPower(other).remains(key, ownerOf(backend), told), undefined)
      assert.deepEqual(await unfinishedOf(other), [])
      await backend.put('r/small', bytesOf('small'), { keep: () => true })
      assert.equal((await read(other, 'r/small')).toString(), 'small')
    },
  },
]
