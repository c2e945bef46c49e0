// The suite can fail: each backend that is broken on purpose is seen by the case that is for it.

import { AssertionError } from 'node:assert/strict'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Backend, type Bytes } from '../backend.ts'
import { ImageError, isImageError, orUndefined } from '../errors.ts'
import { type Subject, conformance, runCase, unfinishedConformance } from './conformance.ts'
import { MemoryBackend, MemoryStore } from './memory.ts'

const proof = suite('conformance')

/** A store seen by two processes; `wrap` breaks what they do. */
async function subject(wrap: (backend: Backend) => Backend): Promise<Subject> {
  const shared = new MemoryStore()
  return {
    backend: wrap(new MemoryBackend({ shared })),
    other: wrap(new MemoryBackend({ shared })),
    close: async () => undefined,
  }
}

proof('no two cases have one name', () => {
  const names = [...conformance, ...unfinishedConformance].map(({ name }) => name)
  assert.is(new Set(names).size, names.length)
})

/** All verbs of `backend`, but for those that are `broken`. */
function breaking(broken: (backend: Backend) => Partial<Backend>): (whole: Backend) => Backend {
  return (whole) => ({
    name: 'broken',
    put: async (...given) => await whole.put(...given),
    get: async (...given) => await whole.get(...given),
    stat: async (...given) => await whole.stat(...given),
    list: (...given) => whole.list(...given),
    delete: async (...given) => await whole.delete(...given),
    ...broken(whole),
  })
}

async function* from(chunks: Iterable<Uint8Array>): Bytes {
  yield* chunks
}

async function* withoutError(bytes: Bytes): Bytes {
  try {
    yield* bytes
  } catch {
    // Deliberately lost.
  }
}

async function* withoutLast(bytes: Bytes): Bytes {
  let last: Uint8Array | undefined
  for await (const chunk of bytes) {
    if (last !== undefined) yield last
    last = chunk
  }
}

/** Sorts as a walk through folders does, in which `/` ends a name. */
function byFolder(key: string): string {
  return key.replaceAll('/', '\0')
}

/** What is broken, and the beginning of the name of a case that has to see it. */
const breakages: [string, string, (backend: Backend) => Partial<Backend>][] = [
  [
    'a put that keeps the chunks',
    'a source that overwrites each chunk',
    (backend) => ({
      put: async (key, bytes, options) => {
        const kept: Uint8Array[] = []
        for await (const chunk of bytes) kept.push(chunk)
        return await backend.put(key, from(kept), options)
      },
    }),
  ],
  [
    'a put that swallows the error of its source',
    'a failing source leaves the old object',
    (backend) => ({
      put: async (key, bytes, options) => await backend.put(key, withoutError(bytes), options),
    }),
  ],
  [
    'a put that wraps the error of its source',
    'a failing source rejects with its own error',
    (backend) => ({
      put: async (key, bytes, options) => {
        try {
          return await backend.put(key, bytes, options)
        } catch (cause) {
          if (isImageError(cause)) throw cause
          throw new ImageError('unavailable', 'Wrapped.', { cause })
        }
      },
    }),
  ],
  [
    'a put that ignores its signal',
    'an aborted put rejects with the reason',
    (backend) => ({
      put: async (key, bytes, { ifAbsent = false } = {}) =>
        await backend.put(key, bytes, { ifAbsent }),
    }),
  ],
  [
    'a put that replaces in two steps',
    'a reader that races a replacement',
    (backend) => ({
      put: async (key, bytes, options) => {
        if (options?.ifAbsent !== true) await backend.delete(key)
        return await backend.put(key, bytes, options)
      },
    }),
  ],
  [
    'an ifAbsent that overwrites',
    'ifAbsent creates, and never replaces',
    (backend) => ({
      put: async (key, bytes, options) =>
        await backend.put(key, bytes, { ...options, ifAbsent: false }),
    }),
  ],
  [
    'an ifAbsent that looks first and writes then',
    'of 8 racing writers',
    (backend) => ({
      put: async (key, bytes, options) => {
        if (options?.ifAbsent === true && (await orUndefined(backend.stat(key))) !== undefined) {
          throw new ImageError('already_exists', 'Seen.')
        }
        return await backend.put(key, bytes, { ...options, ifAbsent: false })
      },
    }),
  ],
  [
    'a short get',
    'what was put is what get',
    (backend) => ({
      get: async (key, options) => withoutLast(await backend.get(key, options)),
    }),
  ],
  [
    'a get that finds out late that there is nothing',
    'get and stat of an absent key',
    (backend) => ({
      get: async (key, options) => {
        async function* late(): Bytes {
          yield* await backend.get(key, options)
        }
        return late()
      },
    }),
  ],
  [
    'a get that gives what is left of a range',
    'a range that is not within the object',
    (backend) => ({
      get: async (key, { range, ...options } = {}) => {
        if (range === undefined) return await backend.get(key, options)
        const end = Math.min(range.end, (await backend.stat(key)).size - 1)
        return await backend.get(key, { ...options, range: { start: range.start, end } })
      },
    }),
  ],
  [
    'a list in the order of folders',
    'keys come in byte order',
    (backend) => ({
      async *list(prefix) {
        const stats = []
        for await (const stat of backend.list(prefix)) stats.push(stat)
        yield* stats.toSorted((one, two) => (byFolder(one.key) < byFolder(two.key) ? -1 : 1))
      },
    }),
  ],
  [
    'a list of the first page',
    '2,500 keys are listed once each',
    (backend) => ({
      async *list(prefix) {
        let count = 0
        for await (const stat of backend.list(prefix)) {
          if (count < 1_000) yield stat
          count += 1
        }
      },
    }),
  ],
  [
    'a delete that refuses what is absent',
    'deleting what is absent is success',
    (backend) => ({
      delete: async (key) => {
        await backend.stat(key)
        await backend.delete(key)
      },
    }),
  ],
]

for (const [what, caseName, broken] of breakages) {
  proof(`the suite sees ${what}`, async () => {
    const each = conformance.find(({ name }) => name.startsWith(caseName))
    assert.ok(each, `there is no case "${caseName}"`)
    let failure: unknown
    try {
      await runCase(each, async () => await subject(breaking(broken)))
    } catch (error) {
      failure = error
    }
    // Anything else would be a mistake in the case.
    assert.ok(failure instanceof AssertionError || isImageError(failure), String(failure))
  })
}

proof('the suite sees what a case leaves behind', async () => {
  const left = { ...(await subject((backend) => backend)), leftovers: async () => ['.tmp/left'] }
  try {
    await runCase({ name: 'a case', run: async () => undefined }, async () => left)
  } catch (error) {
    assert.match(String(error), 'left behind by "a case"')
    return
  }
  assert.unreachable('it does not')
})

proof.run()
