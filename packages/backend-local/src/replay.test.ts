// Power cuts: whatever a cut at any moment leaves of what was not synced, a store that is opened on it
// has every acknowledged put whole, no acknowledged delete, and nothing in part.

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Stat, bytesOf, readAll } from '@backing-image/core'
import { type Disk, nodeDisk } from './disk.ts'
import { LocalBackend } from './index.ts'
import { type CrashState, Recorder, crashStates, materialize } from './testing/index.ts'
import { memoryFolder, withFolder, withoutSyncs } from './testing/index.ts'

const replay = suite('local: power cuts')
const mebibyte = 1024 * 1024

/** The body that a put or delete (undefined) leaves at its key, from its begin to its end. */
interface Operation {
  id: number
  key: string
  body: Buffer | undefined
}

interface Note {
  operation: Operation
  isAcknowledged: boolean
}

/** A disk that says that it is nearly full, so that no ballast is made and recorded. */
const nearlyFull: Disk = {
  ...nodeDisk,
  statfs: async () => ({ bsize: 4096, blocks: 10_000, bavail: 100 }),
}

class Workload {
  readonly #recorder: Recorder<Note>
  readonly #backend: LocalBackend
  #count = 0

  constructor(recorder: Recorder<Note>, backend: LocalBackend) {
    this.#recorder = recorder
    this.#backend = backend
  }

  async #run(key: string, body: Buffer | undefined, work: () => Promise<unknown>): Promise<void> {
    this.#count += 1
    const operation = { id: this.#count, key, body }
    this.#recorder.note({ operation, isAcknowledged: false })
    await work()
    this.#recorder.note({ operation, isAcknowledged: true })
  }

  put(key: string, body: Buffer, ifAbsent = false): Promise<void> {
    return this.#run(key, body, () => this.#backend.put(key, bytesOf(body), { ifAbsent }))
  }

  delete(key: string): Promise<void> {
    return this.#run(key, undefined, () => this.#backend.delete(key))
  }

  /** All verbs, alone and against each other. */
  async run(): Promise<void> {
    const large = Buffer.alloc(mebibyte + 70_000)
    randomBytes(9_000).copy(large, 500_000)
    randomBytes(5_000).copy(large, large.length - 20_000)
    await this.put('ab-0123abcd/backing', large)
    await this.put('ab-0123abcd/backing.cfg', randomBytes(300))
    await this.put('.catalog/ab/1.json', randomBytes(700), true)
    await this.put('.jobs/ab/1.beat.json', randomBytes(600))
    await this.put('.jobs/ab/1.beat.json', randomBytes(650))
    // Two publishers in a folder that neither has made yet; a replacement; a delete beside them.
    await Promise.all([
      this.put('.catalog/cd/1.json', randomBytes(600), true),
      this.put('.catalog/cd/2.json', randomBytes(600), true),
      this.put('.jobs/ab/1.beat.json', randomBytes(100)),
      this.delete('ab-0123abcd/backing.cfg'),
    ])
    // The folder goes with its last file, while another put needs it.
    await Promise.all([
      this.delete('.catalog/ab/1.json'),
      this.put('.catalog/ab/2.json', randomBytes(500), true),
    ])
    await this.delete('.catalog/ab/2.json')
    await this.delete('ab-0123abcd/backing')
    await this.put('ab-0123abcd/backing', randomBytes(2_000))
    await this.delete('.jobs/ab/1.beat.json')
    await this.delete('.jobs/ab/1.beat.json')
  }
}

/** What a key may hold: the outcome of every operation that none has surely followed. */
function allowed(notes: Note[], key: string): (Buffer | undefined)[] {
  const bodies: (Buffer | undefined)[] = []
  const own = notes.filter((note) => note.operation.key === key)
  const begun = own.filter((note) => !note.isAcknowledged).map((note) => note.operation)
  if (!own.some((note) => note.isAcknowledged)) bodies.push(undefined)
  for (const operation of begun) {
    const end = own.findIndex((note) => note.isAcknowledged && note.operation === operation)
    const isReplaced = begun.some((later) => {
      const start = own.findIndex((note) => note.operation === later)
      return end >= 0 && start > end && own.some((n) => n.isAcknowledged && n.operation === later)
    })
    if (!isReplaced) bodies.push(operation.body)
  }
  return bodies
}

/** Nothing needs to be durable while a state is looked at. */
const unsynced: Disk = withoutSyncs(nearlyFull)

/** Opens the state as a process after the power cut does; says what is wrong with it. */
async function faultOf(state: CrashState<Note>, root: string): Promise<string | undefined> {
  materialize(state.tree, root)
  const backend = await LocalBackend.open({ root, disk: unsynced, lowWaterBytes: 0 })
  const { notes } = state
  const there = new Map<string, Stat>()
  for await (const stat of backend.list('')) there.set(stat.key, stat)
  for (const key of new Set([...notes.map((note) => note.operation.key), ...there.keys()])) {
    const found = there.has(key) ? await readAll(await backend.get(key), 4 * mebibyte) : undefined
    const isAllowed = allowed(notes, key).some((body) =>
      body && found ? body.equals(found) : body === found,
    )
    if (!isAllowed) return `after step ${state.at}: ${key} has ${found?.length ?? 'no'} bytes`
  }
  for await (const { id } of backend.unfinished()) await backend.discard(id)
  await backend.put('.catalog/ab/9.json', bytesOf('it works'), { ifAbsent: true })
  await backend.close()
  return undefined
}

/** The first fault among the states that power cuts leave of the workload on such a disk. */
async function findFault(
  below: (recorded: Disk) => Disk,
  statesMax: number,
  seed: number,
): Promise<{ fault: string | undefined; states: number }> {
  let states = 0
  let fault: string | undefined
  await withFolder(async (folder) => {
    const root = join(folder, 'recorded')
    mkdirSync(root)
    const recorder = new Recorder<Note>(root, nearlyFull)
    const disk = below(recorder.disk)
    const backend = await LocalBackend.open({ root, disk, lowWaterBytes: 0 })
    await new Workload(recorder, backend).run()
    for (const state of crashStates(recorder.steps, { statesMax, seed })) {
      states += 1
      await withFolder(async (left) => {
        fault = await faultOf(state, left)
      }, memoryFolder)
      if (fault !== undefined) break
    }
    await backend.close()
  })
  return { fault, states }
}

replay('every acknowledged change survives, and nothing is ever there in part', async () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  const { fault, states } = await findFault((disk) => disk, 1_500, seed)
  console.log(`  ${states} states, SEED=${seed}`)
  assert.is(fault, undefined, `SEED=${seed}`)
  assert.ok(states > 300, `only ${states} states`)
})

replay('the same search finds the fault when a sync is left out', async () => {
  const omitted: Record<string, (verb: string, path: string) => boolean> = {
    'of a file': (verb) => verb === 'datasync',
    'of every folder': (verb) => verb === 'sync',
    'of the parent of a parent': (_, path) => path.endsWith('.catalog'),
    'of the root': (_, path) => path.endsWith('recorded'),
  }
  for (const [what, skips] of Object.entries(omitted)) {
    const { fault } = await findFault((disk) => withoutSyncs(disk, skips), 1_000, 1)
    assert.type(fault, 'string', `no sync ${what}, and it was not noticed`)
  }
})

replay.run()
