// The cases for Resumable can fail: each backend that is broken on purpose is seen by the case that is
// for it.

import { AssertionError } from 'node:assert/strict'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, type PutOptions, type Remains, type Stat } from '../backend.ts'
import { isImageError } from '../errors.ts'
import { type Subject, resumableConformance, runCase } from './conformance.ts'
import { MemoryBackend, type MemoryOptions, MemoryStore } from './memory.ts'

const proof = suite('conformance: what puts leave')

class Breakable extends MemoryBackend {
  putting: (options: PutOptions) => PutOptions = (options) => options
  finding: (found: Remains | undefined) => Remains | undefined = (found) => found
  isDeaf = false
  asking = (key: string, owner: string): [string, string] => [key, owner]

  override async put(key: string, bytes: Bytes, options: PutOptions = {}): Promise<Stat> {
    return await super.put(key, bytes, this.putting(options))
  }

  override async remains(key: string, owner: string, told: number): Promise<Remains | undefined> {
    return this.finding(await super.remains(...this.asking(key, owner), told))
  }

  override async discard(id: string): Promise<void> {
    if (!this.isDeaf) await super.discard(id)
  }
}

async function subject(options: MemoryOptions, broken: (one: Breakable) => void): Promise<Subject> {
  const shared = new MemoryStore()
  const [backend, other] = [
    new Breakable({ ...options, shared }),
    new Breakable({ ...options, shared }),
  ]
  for (const each of [backend, other]) broken(each)
  return { backend, other, close: async () => undefined }
}

function without(option: 'keep' | 'after', options: PutOptions): PutOptions {
  const rest = { ...options }
  delete rest[option]
  return rest
}

function withoutKeep(options: PutOptions): PutOptions {
  return without('keep', options)
}

function telling(change: (bytes: number) => number): (options: PutOptions) => PutOptions {
  return (options) => ({ ...options, onDurable: (bytes) => options.onDurable?.(change(bytes)) })
}

async function* withoutFirst(bytes: Bytes): Bytes {
  let isFirst = true
  for await (const chunk of bytes) {
    yield isFirst ? chunk.subarray(1) : chunk
    isFirst = false
  }
}

const failed = 'a put that failed and was kept'

/** What is broken, the beginning of the name of the case that has to see it, and how. */
const breakages: [string, string, MemoryOptions, (one: Breakable) => void][] = [
  ['a put that keeps nothing', failed, {}, (one) => (one.putting = withoutKeep)],
  [
    'a put that asks twice',
    failed,
    {},
    (one) =>
      (one.putting = (options) => ({
        ...options,
        ...(options.keep && { keep: (error) => options.keep!(error) && options.keep!(error) }),
      })),
  ],
  [
    'a put that keeps what nobody wants',
    'without keep, or when it says no',
    {},
    (one) => (one.putting = (options) => ({ ...options, keep: (e) => options.keep?.(e) !== null })),
  ],
  ['a put that tells too much', failed, {}, (one) => (one.putting = telling((bytes) => bytes + 1))],
  ['a put that tells nothing new', failed, {}, (one) => (one.putting = telling(() => 1))],
  [
    'remains that are shorter than was told',
    failed,
    {},
    (one) => (one.finding = (found) => found && { ...found, offset: found.offset - 1 }),
  ],
  [
    'remains of more than was given',
    failed,
    {},
    (one) => (one.finding = (found) => found && { ...found, offset: found.offset + 1 }),
  ],
  [
    'remains of other bytes',
    failed,
    {},
    (one) =>
      (one.finding = (found) =>
        found && { ...found, read: async () => withoutFirst(await found.read!()) }),
  ],
  [
    'a store that goes on without what was left',
    failed,
    { goesOn: true },
    (one) => (one.putting = (options) => without('after', options)),
  ],
  [
    'a store that begins anew where what was left is gone',
    'what was discarded meanwhile',
    { goesOn: true },
    (one) =>
      (one.putting = ({ after, ...options }) =>
        after && one.store.unfinished.has(after.id) ? { ...options, after } : options),
  ],
  [
    'remains of any key',
    'of what nobody has left',
    {},
    (one) => (one.asking = (_, owner) => ['r-0123abcd/backing', owner]),
  ],
  [
    'remains of any owner',
    'of what nobody has left',
    {},
    (one) =>
      (one.asking = (key) => [key, [...one.store.unfinished.values()].at(-1)?.owner ?? 'none']),
  ],
  ['a deaf discard', 'what was discarded meanwhile', {}, (one) => (one.isDeaf = true)],
  [
    'a put that tells when it is over',
    'a put that succeeds',
    {},
    (one) =>
      (one.putting = (options) => ({
        ...options,
        onDurable: (bytes) => void setTimeout(() => options.onDurable?.(bytes), 50),
      })),
  ],
  [
    'a put that asks for nothing when it is aborted',
    'an aborted put is kept',
    {},
    (one) => (one.putting = (options) => (options.signal ? withoutKeep(options) : options)),
  ],
]

for (const [what, caseName, options, broken] of breakages) {
  proof(`the suite sees ${what}`, async () => {
    const each = resumableConformance.find(({ name }) => name.startsWith(caseName))
    assert.ok(each, `there is no case "${caseName}"`)
    let failure: unknown
    try {
      await runCase(each, async () => await subject(options, broken))
    } catch (error) {
      failure = error
    }
    // Anything else would be a mistake in the case.
    assert.ok(failure instanceof AssertionError || isImageError(failure), String(failure))
  })
}

proof('each of these cases passes where nothing is broken', async () => {
  for (const goesOn of [true, false]) {
    for (const each of resumableConformance) {
      await runCase(each, async () => await subject({ goesOn }, () => undefined))
    }
  }
})

proof.run()
