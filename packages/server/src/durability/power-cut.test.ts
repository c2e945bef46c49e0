// Power cuts under the whole store: whatever a cut at any moment leaves of what was not synced, a
// store that is opened on it has every acknowledged version whole, no acknowledged delete, nothing in
// part, and once the dead work is settled nothing that nobody names.

import { randomBytes } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Disk, nodeDisk } from '@backing-image/backend-local'
import {
  type CrashState,
  Recorder,
  crashStates,
  materialize,
} from '@backing-image/backend-local/testing'
import { memoryFolder, withFolder, withoutSyncs } from '@backing-image/backend-local/testing'
import { type ImageStore, isImageError } from '@backing-image/core'
import { type UploadOptions, leftovers, openStore, readyBodies, upload } from './store.ts'

const cuts = suite('store: power cuts')
const mebibyte = 1024 * 1024

/** From its begin to its end a change may or may not have happened. */
interface Change {
  id: number
  name: string
  /** What each version is afterwards; undefined is gone. */
  versions: Record<string, Buffer | undefined>
}

interface Note {
  change: Change
  isAcknowledged: boolean
}

/** A disk that says that it is nearly full, so that no ballast is made and recorded. */
const nearlyFull: Disk = {
  ...nodeDisk,
  statfs: async () => ({ bsize: 4096, blocks: 10_000, bavail: 100 }),
}

class Workload {
  readonly #recorder: Recorder<Note>
  readonly #store: ImageStore
  #count = 0

  constructor(recorder: Recorder<Note>, store: ImageStore) {
    this.#recorder = recorder
    this.#store = store
  }

  async #run(name: string, versions: Change['versions'], work: Promise<unknown>): Promise<void> {
    this.#count += 1
    const change = { id: this.#count, name, versions }
    this.#recorder.note({ change, isAcknowledged: false })
    await work
    this.#recorder.note({ change, isAcknowledged: true })
  }

  upload(name: string, version: string, body: Buffer, options: UploadOptions = {}): Promise<void> {
    return this.#run(name, { [version]: body }, upload(this.#store, name, body, options))
  }

  rollback(name: string, version: string, to: string, body: Buffer): Promise<void> {
    return this.#run(name, { [to]: body }, this.#store.rollback(name, version))
  }

  remove(name: string, ...versions: string[]): Promise<void> {
    const gone = Object.fromEntries(versions.map((version) => [version, undefined]))
    const [version, ...others] = versions
    const select = version !== undefined && others.length === 0 ? { version } : {}
    return this.#run(name, gone, this.#store.remove(name, select))
  }

  /** Everything that changes a store, alone and side by side. */
  async run(): Promise<void> {
    const sparse = Buffer.alloc(mebibyte + 70 * 1024)
    randomBytes(9_000).copy(sparse, 500_000)
    const [small, other, third] = [4_096, 5_120, 6_144].map((size) => randomBytes(size))
    assert.ok(small && other && third)
    await this.upload('base', '1', sparse)
    await this.upload('base', 'stable', small, { version: 'stable' })
    await this.rollback('base', '1', '2', sparse)
    await refused(upload(this.#store, 'wrong', small, { expected: [`md5:${'0'.repeat(32)}`] }))
    await Promise.all([
      this.remove('base', '1'),
      this.upload('beside', '1', other),
      this.upload('base', '3', third),
    ])
    await Promise.all([this.remove('base', 'stable', '2', '3'), this.upload('beside', '2', small)])
    await this.rollback('beside', '1', '3', other)
    await this.remove('beside', '1')
    await this.upload('base', '1', other)
  }
}

async function refused(work: Promise<unknown>): Promise<void> {
  const failure = await work.catch((error: unknown) => error)
  assert.ok(isImageError(failure), 'it was not refused')
}

/** What a version may be: the outcome of every change of it that none has surely followed. */
function allowed(notes: Note[], name: string, version: string): (Buffer | undefined)[] {
  const own = notes.filter(({ change }) => change.name === name && version in change.versions)
  const begun = own.filter((note) => !note.isAcknowledged).map((note) => note.change)
  const endOf = (change: Change): number =>
    own.findIndex((note) => note.isAcknowledged && note.change === change)
  const bodies: (Buffer | undefined)[] = []
  if (!own.some((note) => note.isAcknowledged)) bodies.push(undefined)
  for (const change of begun) {
    const end = endOf(change)
    const isFollowed = begun.some((later) => {
      const start = own.findIndex((note) => note.change === later)
      return end >= 0 && start > end && endOf(later) >= 0
    })
    if (!isFollowed) bodies.push(change.versions[version])
  }
  return bodies
}

/** Nothing needs to be durable while a state is looked at. */
const unsynced: Disk = withoutSyncs(nearlyFull)

/** Opens the state as the process after the power cut does; says what is wrong with it. */
async function faultOf(state: CrashState<Note>, root: string): Promise<string | undefined> {
  materialize(state.tree, root)
  // Without its folder a process is known to be dead; with it, but without its socket, the store
  // waits for the end of its leases.
  const isKnownDead = state.at % 2 === 0
  if (isKnownDead) rmSync(join(root, '.tmp'), { recursive: true, force: true })
  const opened = await openStore(root, unsynced)
  const fault =
    (await wrongVersion(opened.store, state.notes)) ??
    (isKnownDead ? (await leftovers(opened))[0] : undefined)
  // Not in every state: each store would start its hash threads.
  if (state.at % 16 === 0) await upload(opened.store, 'after', Buffer.from('it works'))
  await opened.close()
  return fault === undefined ? undefined : `after step ${state.at}: ${fault}`
}

async function wrongVersion(store: ImageStore, notes: Note[]): Promise<string | undefined> {
  const listed = (await store.list()).map((image) => image.name)
  for (const name of new Set([...listed, ...notes.map((note) => note.change.name)])) {
    const found = await readyBodies(store, name)
    const known = notes.flatMap(({ change }) =>
      change.name === name ? Object.keys(change.versions) : [],
    )
    for (const version of new Set([...found.keys(), ...known])) {
      const body = found.get(version)
      const isAllowed = allowed(notes, name, version).some((each) =>
        each && body ? each.equals(body) : each === body,
      )
      if (!isAllowed) return `${name} ${version} has ${body?.length ?? 'no'} bytes`
    }
  }
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
    const opened = await openStore(root, below(recorder.disk))
    await new Workload(recorder, opened.store).run()
    for (const state of crashStates(recorder.steps, { statesMax, seed })) {
      states += 1
      await withFolder(async (left) => {
        fault = await faultOf(state, left)
      }, memoryFolder)
      if (fault !== undefined) break
    }
    await opened.close()
  }, memoryFolder)
  return { fault, states }
}

cuts('every acknowledged version survives, and nothing is in part or left over', async () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  const { fault, states } = await findFault((disk) => disk, 400, seed)
  console.log(`  ${states} states, SEED=${seed}`)
  assert.is(fault, undefined, `SEED=${seed}`)
  assert.ok(states > 200, `only ${states} states`)
})

cuts('the same search finds the fault when syncs are left out', async () => {
  const { fault } = await findFault((disk) => withoutSyncs(disk), 400, 1)
  assert.type(fault, 'string', 'nothing was synced, and it was not noticed')
})

cuts.run()
