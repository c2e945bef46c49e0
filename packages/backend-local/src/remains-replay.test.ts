// Power cuts during a put that may be gone on with: whatever a cut at any moment leaves, what was told to
// be durable is there, and the first so many bytes of it are right.

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Bytes, readAll } from '@backing-image/core'
import { type Disk, nodeDisk } from './disk.ts'
import { LocalBackend } from './index.ts'
import { type CrashState, Recorder, crashStates, materialize } from './testing/index.ts'
import { memoryFolder, withFolder, withoutSyncs } from './testing/index.ts'

const replay = suite('local: power cuts of what is left')
const kibibyte = 1024
const syncEveryBytes = 300 * kibibyte

/** One put, and what was told of it by then. */
interface Note {
  key: string
  durableBytes: number
}

/** A disk that says that it is nearly full, so that no ballast is made and recorded. */
const nearlyFull: Disk = {
  ...nodeDisk,
  statfs: async () => ({ bsize: 4096, blocks: 10_000, bavail: 100 }),
}
/** Nothing needs to be durable while a state is looked at. */
const unsynced: Disk = withoutSyncs(nearlyFull)

/** Data, a hole that is longer than any between two syncs, data, and a hole at the end. */
const body: Buffer = Buffer.concat([
  randomBytes(2_200_000),
  Buffer.alloc(10 * syncEveryBytes),
  randomBytes(1_700_000),
  Buffer.alloc(100_000),
])

async function* failing(chunkBytes: number): Bytes {
  for (let at = 0; at < body.length; at += chunkBytes) yield body.subarray(at, at + chunkBytes)
  throw new Error('cut')
}

/** Two puts at a time, in chunks that are gathered and in chunks that are not; both fail at their end. */
async function leave(recorder: Recorder<Note>, backend: LocalBackend): Promise<void> {
  const puts = [150 * kibibyte, 260 * kibibyte].map(async (chunkBytes, index) => {
    const key = `left-0123abc${index}/backing`
    await backend.put(key, failing(chunkBytes), {
      keep: () => true,
      onDurable: (durableBytes) => recorder.note({ key, durableBytes }),
    })
  })
  const ends = await Promise.allSettled(puts)
  assert.ok(ends.every(({ status }) => status === 'rejected'))
}

/** Opens the state as a process after the power cut does; says what is wrong with it. */
async function faultOf(
  state: CrashState<Note>,
  root: string,
  owner: string,
): Promise<string | undefined> {
  materialize(state.tree, root)
  const backend = await LocalBackend.open({ root, disk: unsynced, lowWaterBytes: 0 })
  try {
    const told = new Map(state.notes.map(({ key, durableBytes }) => [key, durableBytes]))
    for (const [key, durableBytes] of told) {
      const left = await backend.remains(key, owner, durableBytes)
      const what = `after step ${state.at}: of ${durableBytes} durable bytes of ${key}`
      if (!left?.read) return `${what} nothing is left`
      const found = await readAll(await left.read(), body.length)
      if (left.offset < durableBytes || !found.equals(body.subarray(0, left.offset)))
        return `${what} others are left`
    }
    for await (const { id } of backend.unfinished()) await backend.discard(id)
    for await (const { id } of backend.unfinished()) return `${id} can not be discarded`
    return undefined
  } finally {
    await backend.close()
  }
}

/** The first fault among the states that power cuts leave, and how often something was told. */
async function findFault(
  below: (recorded: Disk) => Disk,
  statesMax: number,
  seed: number,
): Promise<{ fault: string | undefined; states: number; told: number }> {
  let states = 0
  let fault: string | undefined
  let told = 0
  await withFolder(async (folder) => {
    const root = join(folder, 'recorded')
    mkdirSync(root)
    const recorder = new Recorder<Note>(root, nearlyFull)
    const disk = below(recorder.disk)
    const backend = await LocalBackend.open({ root, disk, lowWaterBytes: 0, syncEveryBytes })
    await leave(recorder, backend)
    told = recorder.steps.filter(({ is }) => is === 'note').length
    for (const state of crashStates(recorder.steps, { statesMax, seed })) {
      states += 1
      await withFolder(async (left) => {
        fault = await faultOf(state, left, backend.owner)
      }, memoryFolder)
      if (fault !== undefined) break
    }
    await backend.close()
  }, memoryFolder)
  return { fault, states, told }
}

replay('what was told to be durable is there, and right', async () => {
  const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32))
  const { fault, states, told } = await findFault((disk) => disk, 1_000, seed)
  console.log(`  ${states} states, told ${told} times, SEED=${seed}`)
  assert.is(fault, undefined, `SEED=${seed}`)
  assert.ok(states > 100, `only ${states} states`)
  assert.ok(told > 10, `told only ${told} times`)
})

replay('the same search finds the fault when a sync is left out', async () => {
  const omitted: Record<string, (verb: string, path: string) => boolean> = {
    'of a file': (verb) => verb === 'datasync',
    'of every folder': (verb) => verb === 'sync',
    "of its process's folder": (_, path) => /[.]tmp[/][^/]+$/.test(path),
    'of the root': (_, path) => path.endsWith('recorded'),
  }
  for (const [what, skips] of Object.entries(omitted)) {
    const { fault } = await findFault((disk) => withoutSyncs(disk, skips), 600, 1)
    assert.type(fault, 'string', `no sync ${what}, and it was not noticed`)
  }
})

replay.run()
