// A disk that hangs: whoever waits can leave, and what was left behind is tidied when it returns.

import { randomBytes } from 'node:crypto'
import { unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, ImageError, bytesOf, orUndefined, readAll } from '@backing-image/core'
import { type Disk, explained } from './disk.ts'
import { Guard } from './guard.ts'
import { LocalBackend } from './index.ts'
import { Scanner } from './scan.ts'
import {
  type Call,
  Gate,
  HangingDisk,
  hooked,
  openFiles,
  temporaries,
  withFolder,
} from './testing/index.ts'

const hangs = suite('local: a disk that hangs')
const mebibyte = 1024 * 1024
const key = 'name-0123abcd/backing'

/** A disk on which one call hangs, once it is armed, until it is released. */
class OneHangs {
  readonly disk: Disk
  readonly hung: Gate = new Gate()
  readonly released: Gate = new Gate()
  #verb: Call['verb'] | undefined

  constructor() {
    this.disk = hooked(async (call, proceed) => {
      if (call.verb === this.#verb) {
        this.#verb = undefined
        this.hung.open()
        await this.released.opened
      }
      return await proceed()
    })
  }

  arm(verb: Call['verb']): void {
    this.#verb = verb
  }
}

/** Counts how often it is let go. */
class Source implements AsyncIterable<Uint8Array> {
  returns = 0
  readonly #chunks: Uint8Array[]

  constructor(chunks: Uint8Array[]) {
    this.#chunks = chunks
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, undefined> {
    return {
      next: async () => {
        const value = this.#chunks.shift()
        return value ? { done: false, value } : { done: true, value: undefined }
      },
      return: async () => {
        this.returns += 1
        return { done: true, value: undefined }
      },
    }
  }
}

async function isTidy(root: string): Promise<void> {
  const deadlineMs = performance.now() + 5_000
  while ((await temporaries(root)).length > 0 || (await openFiles(root)).length > 0) {
    assert.ok(performance.now() < deadlineMs, 'not tidied')
    await pause(5)
  }
}

async function failure(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
  } catch (error) {
    return error
  }
  throw new Error('it succeeded')
}

// A source that has come to its end is let go no more.
const verbs = { write: 1, open: 1, datasync: 0, link: 0 } as const

for (const verb of ['write', 'open', 'datasync', 'link'] as const) {
  hangs(`a put that hangs in ${verb} can be left, and is tidied when the call returns`, () =>
    withFolder(async (root) => {
      const hanging = new OneHangs()
      const backend = await LocalBackend.open({ root, disk: hanging.disk })
      await backend.put('other', bytesOf('x'))
      const ifAbsent = verb === 'link'
      const chunk = randomBytes(ifAbsent ? 100 : mebibyte)
      const source = new Source(ifAbsent ? [chunk] : [chunk, chunk, chunk])
      const controller = new AbortController()
      hanging.arm(verb)
      const put = backend.put(key, source, { signal: controller.signal, ifAbsent })
      await hanging.hung.opened
      const reason = new Error('stop waiting')
      controller.abort(reason)
      assert.is(await failure(put), reason)
      for (let turns = 0; turns < 5; turns += 1) await turn()
      assert.is(source.returns, 0, 'let go while the disk still reads the chunk')
      assert.is(await orUndefined(backend.stat(key)), undefined)
      await backend.put('other', bytesOf('y'))
      hanging.released.open()
      await isTidy(root)
      assert.is(source.returns, verbs[verb])
      // A link that was asked for is not taken back; all else is not asked for any more.
      const left = await orUndefined(backend.stat(key))
      assert.is(left?.size, ifAbsent ? chunk.length : undefined, 'the key afterwards')
      await backend.close()
    }),
  )
}

hangs('a get that hangs can be left, and closes when the read returns', () =>
  withFolder(async (root) => {
    for (const size of [3_000, 3 * mebibyte]) {
      const hanging = new OneHangs()
      const backend = await LocalBackend.open({ root, disk: hanging.disk })
      async function* chunks(): Bytes {
        yield randomBytes(size)
      }
      await backend.put(key, chunks())
      hanging.arm('read')
      const controller = new AbortController()
      const { signal } = controller
      const reading = (async () => await readAll(await backend.get(key, { signal }), size))()
      await hanging.hung.opened
      const reason = new Error('stop waiting')
      controller.abort(reason)
      assert.is(await failure(reading), reason)
      assert.is((await openFiles(root)).length, 1, 'closed under a read')
      hanging.released.open()
      await isTidy(root)
      await backend.close()
    }
  }),
)

const guard = {
  slots: 4,
  suspectAfterMs: 40,
  probeTimeoutMs: 60,
  retryAfterMs: 20,
  readTimeoutMs: 60_000,
  writeTimeoutMs: 60_000,
}

function isOutage(error: unknown): void {
  assert.ok(error instanceof ImageError && error.code === 'unavailable', String(error))
}

async function eventually(what: string, check: () => boolean): Promise<void> {
  const endsAtMs = performance.now() + 20_000
  while (!check()) {
    assert.ok(performance.now() < endsAtMs, what)
    await pause(2)
  }
}

for (const verb of ['write', 'open', 'datasync', 'link'] as const) {
  hangs(`an outage in the middle of a ${verb} fails the put at once, and is tidied after it`, () =>
    withFolder(async (root) => {
      const hanging = new HangingDisk()
      const backend = await LocalBackend.open({ root, disk: hanging.disk, guard })
      await backend.put('other', bytesOf('x'))
      const ifAbsent = verb === 'link'
      const chunk = randomBytes(ifAbsent ? 100 : mebibyte)
      const source = new Source(ifAbsent ? [chunk] : [chunk, chunk, chunk])
      const before = hanging.count(verb)
      // From this call on nothing answers.
      hanging.hang((call) => call.verb === verb || hanging.count(verb) > before)
      isOutage(await failure(backend.put(key, source, { ifAbsent })))
      assert.ok(backend.outage)
      isOutage(await failure(backend.stat(key)))
      isOutage(await failure(backend.delete('other')))
      isOutage(await failure(backend.put('third', bytesOf('z'))))
      for (let turns = 0; turns < 5; turns += 1) await turn()
      // Nothing that was left still reads the chunk of an open or a link.
      const mayReturn = verb === 'open' ? 1 : 0
      assert.is(source.returns, mayReturn, 'let go while the disk still reads the chunk')
      hanging.release()
      await eventually('well', () => backend.outage === undefined)
      if (verb !== 'open') await isTidy(root)
      assert.is(source.returns, verbs[verb])
      const left = await orUndefined(backend.stat(key))
      if (!ifAbsent) assert.is(left, undefined, 'the key afterwards')
      assert.is((await backend.stat('other')).size, 1, 'a late delete')
      await backend.put(`${key}-2`, bytesOf('afterwards'))
      await backend.close()
    }),
  )
}

hangs('an outage fails whoever reads and lists, and leaves no handle after it', () =>
  withFolder(async (root) => {
    const hanging = new HangingDisk()
    const backend = await LocalBackend.open({ root, disk: hanging.disk, guard })
    async function* chunks(): Bytes {
      yield randomBytes(3 * mebibyte)
    }
    await backend.put(key, chunks())
    const reading = (await backend.get(key))[Symbol.asyncIterator]()
    await reading.next()
    hanging.hang()
    const list = async (): Promise<void> => {
      for await (const each of backend.list('')) assert.ok(each)
    }
    const rest = async (): Promise<void> => {
      for (let step = await reading.next(); !step.done;) step = await reading.next()
    }
    for (const error of await Promise.all([failure(rest()), failure(list())])) isOutage(error)
    hanging.release()
    await eventually('well', () => backend.outage === undefined)
    await isTidy(root)
    assert.is((await readAll(await backend.get(key), 4 * mebibyte)).length, 3 * mebibyte)
    await backend.close()
  }),
)

hangs('a backend is opened and closed within bounds where the disk hangs', () =>
  withFolder(async (root) => {
    const hanging = new HangingDisk()
    const backend = await LocalBackend.open({ root, disk: hanging.disk, guard })
    hanging.hang()
    isOutage(await failure(LocalBackend.open({ root, disk: hanging.disk, guard })))
    await backend.close()
    hanging.release()
    // What could not be tidied is known to be that of a living process, or is swept.
    const next = await LocalBackend.open({ root, guard })
    await next.close()
  }),
)

hangs('a scan whose thread hangs fails with the outage, and the next has a thread of its own', () =>
  withFolder(async (root) => {
    const backend = await LocalBackend.open({ root })
    for (let count = 0; count < 10; count += 1) {
      await backend.put(`.catalog/n${count}/1.json`, bytesOf('x'))
    }
    const hanging = new HangingDisk()
    const disk = explained(hanging.disk)
    const own = new Guard(disk, root, guard)
    const scanner = new Scanner(own, new URL('./testing/hanging-thread.js', import.meta.url))
    const scan = async (): Promise<number> => {
      let found = 0
      for await (const { content } of scanner.scan(root, '.catalog/', new Map())) {
        found += content?.length ?? 0
      }
      return found
    }
    assert.is(await scan(), 10)
    for (let round = 0; round < 2; round += 1) {
      await writeFile(join(root, 'hang'), '')
      hanging.hang()
      for (const error of await Promise.all([failure(scan()), failure(scan())])) isOutage(error)
      isOutage(await failure(scan()))
      await unlink(join(root, 'hang'))
      hanging.release()
      await eventually('well', () => own.outage === undefined)
      assert.equal(await Promise.all([scan(), scan()]), [10, 10])
    }
    await writeFile(join(root, 'hang'), '')
    const last = failure(scan())
    await pause(20)
    await scanner.close()
    isOutage(await last)
    await backend.close()
  }),
)

hangs.run()
