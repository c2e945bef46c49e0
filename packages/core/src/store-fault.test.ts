// Every single call to the storage fails in turn, with and without having had its effect. What was
// acknowledged is there, what was not is absent or whole, and in the end nothing is left over.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { readAll } from './backend.ts'
import { isImageError } from './errors.ts'
import { Hasher } from './hasher.ts'
import { parseJobKey, parseRecordKey } from './layout.ts'
import { parseRecord } from './record.ts'
import { removeImage } from './remove.ts'
import type { ImageStore } from './store.ts'
import { type Fault, FaultyBackend } from './testing/faulty.ts'
import { MemoryBackend } from './testing/memory.ts'
import { Town, disk, engine, failure, request, skip, streamOf } from './testing/rig.ts'

const faults = suite('store: faults')
const hasher = new Hasher()

faults.after(async () => await hasher.close())

const kinds = [
  { code: 'unavailable', when: 'before' },
  { code: 'resource_exhausted', when: 'before' },
  { code: 'unavailable', when: 'after' },
] as const

type Engine = ReturnType<typeof engine>

interface Operation {
  /** Before any fault. */
  prepare(engine: Engine): Promise<void>
  run(engine: Engine): Promise<unknown>
  /** What must hold of the store afterwards. */
  hold(store: ImageStore, isAcknowledged: boolean): Promise<void>
}

async function put(on: Engine, seed: number, version?: string): Promise<void> {
  const asked = request('jammy', version === undefined ? {} : { version })
  await on.intake.ingest(asked, () => streamOf(disk(seed)))
}

async function failOnce(on: Engine, version: string): Promise<void> {
  const asked = request('jammy', { version, size: 1 })
  await failure(on.intake.ingest(asked, () => streamOf(Buffer.alloc(0))))
}

/** The bytes of a version; undefined when it is not published. */
async function bytesOf(store: ImageStore, version: string): Promise<Buffer | undefined> {
  try {
    return await readAll(await (await store.open('jammy', { version })).read())
  } catch (error) {
    if (isImageError(error, 'not_found')) return undefined
    throw error
  }
}

async function holds(
  store: ImageStore,
  version: string,
  seed: number,
  isRequired: boolean,
): Promise<void> {
  const bytes = await bytesOf(store, version)
  if (isRequired) assert.ok(bytes, `${version} is gone`)
  if (bytes) assert.ok(bytes.equals(disk(seed)), `${version} has other bytes`)
}

const operations: Record<string, Operation> = {
  'an upload': {
    prepare: async (on) => await put(on, 1),
    run: async ({ intake }) =>
      await intake.ingest(request('jammy', { size: 4096 }), () => streamOf(disk(2))),
    hold: async (store, isAcknowledged) => {
      await holds(store, '1', 1, true)
      await holds(store, '2', 2, isAcknowledged)
      assert.is(await bytesOf(store, '3'), undefined, 'it was published twice')
    },
  },
  'an upload of a given version that had failed before': {
    prepare: async (on) => {
      await put(on, 1, 'v1')
      await failOnce(on, 'v2')
    },
    run: async ({ intake }) =>
      await intake.ingest(request('jammy', { version: 'v2' }), () => streamOf(disk(2))),
    hold: async (store, isAcknowledged) => {
      await holds(store, 'v1', 1, true)
      await holds(store, 'v2', 2, isAcknowledged)
    },
  },
  'an upload that is refused': {
    prepare: async (on) => await put(on, 1, 'v1'),
    run: async (on) => await put(on, 2, 'v1'),
    hold: async (store, isAcknowledged) => {
      assert.is(isAcknowledged, false)
      await holds(store, 'v1', 1, true)
    },
  },
  'a bad upload': {
    prepare: async (on) => await put(on, 1),
    run: async ({ intake }) =>
      await intake.ingest(request('jammy', { size: 9999 }), () => streamOf(disk(2))),
    hold: async (store, isAcknowledged) => {
      assert.is(isAcknowledged, false)
      assert.is(await bytesOf(store, '2'), undefined)
    },
  },
  'a rollback': {
    prepare: async (on) => {
      await put(on, 1)
      await put(on, 2)
    },
    run: async ({ intake }) => await intake.rollback('jammy', '1'),
    hold: async (store, isAcknowledged) => {
      await holds(store, '1', 1, true)
      await holds(store, '2', 2, true)
      await holds(store, '3', 1, isAcknowledged)
      assert.is(await bytesOf(store, '4'), undefined, 'it was published twice')
    },
  },
  'deleting a name': {
    prepare: async (on) => {
      await put(on, 1)
      await put(on, 2)
      await on.intake.rollback('jammy', '1')
      await failOnce(on, 'bad')
    },
    run: async ({ rooms }) => await removeImage(rooms, 'jammy', undefined),
    hold: async (store, isAcknowledged) => {
      for (const [version, seed] of [
        ['1', 1],
        ['2', 2],
        ['3', 1],
      ] as const) {
        if (isAcknowledged) assert.is(await bytesOf(store, version), undefined)
        else await holds(store, version, seed, false)
      }
      if (isAcknowledged) assert.equal(await store.versions('jammy'), [])
      // What was not acknowledged is asked for again.
      else await store.remove('jammy').catch(() => {})
      assert.equal(await store.list(), [])
    },
  },
  'deleting the version that a rollback points at': {
    prepare: async (on) => {
      await put(on, 1)
      await on.intake.rollback('jammy', '1')
    },
    run: async ({ rooms }) => await removeImage(rooms, 'jammy', '1'),
    hold: async (store, isAcknowledged) => {
      await holds(store, '2', 1, true)
      if (isAcknowledged) assert.is(await bytesOf(store, '1'), undefined)
    },
  },
}

/** Everything is a mark, part of a published version, or a failed job. */
function assertNoLeftovers(town: Town): void {
  const named = new Set<string>()
  for (const key of town.keys('.catalog/')) {
    assert.ok(parseRecordKey(key), key)
    named.add(key)
    for (const bytes of parseRecord(key, town.text(key)).keys) {
      assert.ok(town.medium.objects.has(bytes), `${key} names no bytes`)
      named
        .add(bytes)
        .add(`${bytes}.cfg`)
        .add(bytes.replace(/backing$/, 'blocks'))
    }
  }
  const left = town.unmarked().filter((key) => !named.has(key))
  const ended = left.filter((key) => parseJobKey(key)?.kind === 'end')
  for (const key of left) {
    const file = parseJobKey(key)
    const isOfFailed = ended.some((end) => parseJobKey(end)?.uuid === file?.uuid)
    assert.ok(file && isOfFailed && ['claim', 'end'].includes(file.kind), `${key} is left`)
  }
  assert.is(town.medium.unfinished.size, 0, 'unfinished bytes are left')
}

interface Run {
  town: Town
  what: string
  lives: boolean
  calls: number
  result: unknown
}

/** Fails one call of an operation. */
async function runWithFault(operation: Operation, fault: Fault, lives: boolean): Promise<Run> {
  const town = new Town()
  const inner = new MemoryBackend({ shared: town.medium })
  const backend = new FaultyBackend(inner)
  const on = engine(backend, hasher)
  await operation.prepare(on)
  backend.calls = 0
  backend.fault = fault
  const result = await operation.run(on).then(
    () => 'acknowledged',
    (error: unknown) => error,
  )
  backend.fault = undefined
  if (!lives) town.medium.kill(inner.owner)
  const server = lives ? 'living' : 'dead'
  const what = `${fault.code} ${fault.when} call ${fault.call}, ${backend.failed}, ${server} server`
  return { town, what, lives, calls: backend.calls, result }
}

/** Another server comes, and looks until it has seen everything that there is to end. */
async function assertHeld(operation: Operation, { town, what, lives, result }: Run): Promise<void> {
  try {
    const { store, problems } = await town.open()
    // The lease of a process that lives on must run out.
    for (let looks = lives ? 5 : 0; looks > 0; looks--) {
      skip(10_000)
      await store.tend()
    }
    town.pass(2)
    await store.sweep()
    assertNoLeftovers(town)
    await operation.hold(store, result === 'acknowledged')
    assertNoLeftovers(town)
    assert.equal(problems, [])
  } catch (error) {
    throw new Error(`${what} (${String(result)}): ${String(error)}`, { cause: error })
  } finally {
    await town.close()
  }
}

for (const [what, operation] of Object.entries(operations)) {
  faults(`${what}: whichever call fails, nothing is lost and nothing is left`, async () => {
    // One that never comes: how many calls there are.
    const { calls } = await runWithFault(operation, { call: 0, ...kinds[0] }, true)
    assert.ok(calls > 8, `only ${calls} calls`)
    const running: Promise<Run>[] = []
    for (let call = 1; call <= calls; call++) {
      for (const kind of kinds) {
        running.push(runWithFault(operation, { ...kind, call }, true))
        running.push(runWithFault(operation, { ...kind, call }, false))
      }
    }
    const runs = await Promise.all(running)
    for (const run of runs) await assertHeld(operation, run)
  })
}

faults.run()
