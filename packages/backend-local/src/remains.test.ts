// What puts leave that others go on with: what of `.tmp` survives a process, its end and the next start,
// and who takes it away.

import { type ChildProcess, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { truncateSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ImageStore, bytesOf, claimKey, isImageError, readAll } from '@backing-image/core'
import { Gate, hooked, openFiles, temporaries } from './testing/index.ts'
import { leave, leftKey, unfinished, whole, withRoot } from './testing/leave.ts'

const remains = suite('local: what puts leave')
const mebibyte = 1024 * 1024
const cut = new Error('cut')
const script = join(import.meta.dirname, 'testing', 'leaving.js')

/** A process that was killed with two puts under way; who it was, and what was durable. */
async function killed(root: string): Promise<{ owner: string; told: number }> {
  const child: ChildProcess = fork(script, [root], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  assert.ok(child.stdout)
  const said = once(child.stdout as NodeJS.ReadableStream, 'data')
  await Promise.race([said, exited.then(() => assert.unreachable('it ended at once'))])
  const [owner = '', told] = String((await said)[0])
    .trim()
    .split(/\s/)
  child.kill('SIGKILL')
  await exited
  return { owner, told: Number(told) }
}

remains('a start sweeps what a killed process has left, but for what may be gone on with', () =>
  withRoot(async (root, open) => {
    const { owner, told } = await killed(root)
    assert.is((await temporaries(root)).length, 2, 'both are there before')
    const backend = await open()
    assert.equal(
      (await unfinished(backend)).map((each) => each.key),
      [leftKey],
    )
    assert.ok(await backend.isGone(owner), 'it can still be proved dead')
    const left = await whole(backend, owner, told)
    assert.ok(left.equals(Buffer.alloc(left.length, Buffer.alloc(mebibyte, 'left'))))
    await backend.close()
    const later = await open()
    assert.ok((await whole(later, owner, told)).equals(left), 'after another start')
    for (const { id } of await unfinished(later)) await later.discard(id)
    assert.not.ok((await readdir(join(root, '.tmp'))).includes(owner), 'the folder stayed')
    assert.ok(await later.isGone(owner))
    assert.is(await later.remains(leftKey, owner, told), undefined)
  }),
)

remains('it stays while a job lives, and a sweep takes it when none does', () =>
  withRoot(async (root, open) => {
    const { owner } = await killed(root)
    const [backend, living] = [await open(), await open()]
    const claim = {
      layout: 1,
      name: 'left',
      uuid: '0123abcd',
      epoch: 1,
      owner: living.owner,
      version: '1',
      versionGiven: false,
      description: { expected: [] },
      createdAt: new Date().toISOString(),
    }
    await backend.put(claimKey('left', '0123abcd', 1), bytesOf(JSON.stringify(claim)))
    const store = await ImageStore.open(backend, {})
    try {
      await store.sweep()
      assert.is((await temporaries(root)).length, 1)
      await backend.delete(claimKey('left', '0123abcd', 1))
      await store.sweep()
      assert.equal(await temporaries(root), [])
      assert.not.ok((await readdir(join(root, '.tmp'))).includes(owner), 'the folder stayed')
    } finally {
      await store.close()
    }
  }),
)

remains('it outlives the end of its process, whose folder goes with it', () =>
  withRoot(async (root, open) => {
    const [first, second] = [await open(), await open()]
    const body = randomBytes(3 * mebibyte + 5)
    const { told } = await leave(first, body, cut)
    assert.is(told.at(-1), body.length)
    await first.close()
    assert.ok((await whole(second, first.owner, body.length)).equals(body))
    assert.ok((await readdir(join(root, '.tmp'))).includes(first.owner))
    for (const { id } of await unfinished(second)) await second.discard(id)
    assert.equal(
      (await readdir(join(root, '.tmp'))).toSorted(),
      ['ballast', second.owner].toSorted(),
    )
  }),
)

remains(
  'where no socket proves anything, an empty folder goes with the last file all the same',
  () =>
    withRoot(async (root, open) => {
      const options = { provesDeath: false }
      const [first, second] = [await open(options), await open(options)]
      await leave(first, randomBytes(2 * mebibyte), cut)
      await leave(first, randomBytes(2 * mebibyte), cut)
      const [one, two] = await unfinished(second)
      assert.ok(one && two)
      await second.discard(one.id)
      assert.ok((await readdir(join(root, '.tmp'))).includes(first.owner), 'it is not empty yet')
      await second.discard(two.id)
      assert.not.ok((await readdir(join(root, '.tmp'))).includes(first.owner), 'the folder stayed')
      // Its process may live: it makes the folder again.
      const { told } = await leave(first, randomBytes(2 * mebibyte), cut)
      assert.ok(await second.remains(leftKey, first.owner, told.at(-1) ?? 0))
    }),
)

remains('what is durable is told on the way: bytes, and zeros that take no room', () =>
  withRoot(async (_, open) => {
    const backend = await open()
    const body = Buffer.concat([randomBytes(3 * mebibyte), Buffer.alloc(20 * mebibyte)])
    const { told } = await leave(backend, body, cut)
    assert.ok(told.length >= 4, `told ${told.join(', ')}`)
    assert.equal(
      told,
      [...new Set(told)].toSorted((a, b) => a - b),
    )
    assert.ok(
      told.some((bytes) => bytes > 4 * mebibyte && bytes < body.length),
      told.join(', '),
    )
    assert.is(told.at(-1), body.length)
    assert.ok((await whole(backend, backend.owner, body.length)).equals(body))
  }),
)

remains('of several puts the last one counts of which so much was told, if it is as long', () =>
  withRoot(async (root, open) => {
    const backend = await open()
    const [one, two] = [randomBytes(3 * mebibyte), randomBytes(2 * mebibyte)]
    for (const body of [one, two]) await leave(backend, body, cut)
    const { owner } = backend
    assert.ok((await whole(backend, owner, one.length)).equals(one))
    assert.ok((await whole(backend, owner, two.length + 1)).equals(one))
    assert.ok((await whole(backend, owner, two.length)).equals(two))
    assert.ok((await whole(backend, owner, 1)).equals(two))
    assert.is(await backend.remains(leftKey, owner, one.length + 1), undefined)
    const left = await backend.remains(leftKey, owner, two.length)
    truncateSync(join(root, '.tmp', left?.id ?? ''), two.length - 1)
    assert.is(await backend.remains(leftKey, owner, two.length), undefined)
    const error = await left?.read?.().catch((thrown: unknown) => thrown)
    assert.ok(isImageError(error, 'aborted'), String(error))
  }),
)

remains('what a process that lives has told meanwhile does not hide what it had', () =>
  withRoot(async (_, open) => {
    const [first, second] = [await open(), await open()]
    const body = randomBytes(5 * mebibyte)
    const [mayGoOn, hasTold, mayEnd] = [new Gate(), new Gate(), new Gate()]
    const put = first.put(
      leftKey,
      (async function* () {
        yield body.subarray(0, 2 * mebibyte)
        yield body.subarray(2 * mebibyte, 3 * mebibyte)
        await mayGoOn.opened
        yield body.subarray(3 * mebibyte)
        await mayEnd.opened
      })(),
      { keep: () => true, onDurable: () => hasTold.open() },
    )
    await hasTold.opened
    const left = await second.remains(leftKey, first.owner, 1)
    assert.ok(left?.read)
    mayGoOn.open()
    while ((await second.remains(leftKey, first.owner, 1))?.id === left.id) await pause(1)
    const found = await readAll(await left.read(), body.length)
    assert.ok(found.equals(body.subarray(0, left.offset)))
    mayEnd.open()
    assert.is((await put).size, body.length)
    const error = await left.read().catch((thrown: unknown) => thrown)
    assert.ok(isImageError(error, 'aborted'), String(error))
  }),
)

remains('a successor that gives up its read closes the file', () =>
  withRoot(async (root, open) => {
    const gate = new Gate()
    let isHeld = false
    const disk = hooked(async (call, proceed) => {
      if (isHeld && call.verb === 'read') await gate.opened
      return await proceed()
    })
    const backend = await open({ disk })
    const body = randomBytes(4 * mebibyte)
    await leave(backend, body, cut)
    const left = await backend.remains(leftKey, backend.owner, body.length)
    for await (const chunk of (await left?.read?.()) ?? []) {
      assert.ok(chunk.length > 0)
      break
    }
    assert.equal(await openFiles(root), [])
    isHeld = true
    const controller = new AbortController()
    const bytes = await left?.read?.(controller.signal)
    assert.ok(bytes)
    const reading = readAll(bytes, 8 * mebibyte).catch((error: unknown) => error)
    const reason = new Error('stop')
    controller.abort(reason)
    assert.is(await reading, reason)
    gate.open()
    while ((await openFiles(root)).length > 0) await new Promise(setImmediate)
  }),
)

remains.run()
