// A disk that hangs: whoever waits can leave, and what was left behind is tidied when it returns.

import { randomBytes } from 'node:crypto'
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, bytesOf, orUndefined, readAll } from '@backing-image/core'
import { type Disk } from './disk.ts'
import { LocalBackend } from './index.ts'
import { type Call, Gate, hooked, openFiles, temporaries, withFolder } from './testing/index.ts'

const hangs = suite('local: a disk that hangs')
const mebibyte = 1024 * 1024
const key = 'name-0123abcd/backing'

/** A disk on which one call hangs, once it is armed, until it is released. */
class HangingDisk {
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
      const hanging = new HangingDisk()
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
      const hanging = new HangingDisk()
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

hangs.run()
