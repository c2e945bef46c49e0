// Every call of the file system that an upload, a delete or a rollback makes fails once. Whatever was
// acknowledged is there and whole, whatever was refused is absent or whole, and the next process that
// opens the store leaves no bytes, work or unfinished files behind.

import { randomBytes } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type ImageStore, asError, isImageError } from '@backing-image/core'
import { type Disk, nodeDisk } from '@backing-image/backend-local'
import {
  FaultyDisk,
  memoryFolder,
  openFiles,
  withFolder,
} from '@backing-image/backend-local/testing'
import { type OpenStore, leftovers, openStore, readyBodies, upload } from './store.ts'

const faults = suite('store: faults of the disk')
const mebibyte = 1024 * 1024

const large = Buffer.concat([randomBytes(40_960), Buffer.alloc(mebibyte), randomBytes(9_216)])
const old = randomBytes(5_120)

type Bodies = Record<string, Buffer>

interface Scenario {
  what: string
  prepare(store: ImageStore, name: string): Promise<unknown>
  before: Bodies
  run(store: ImageStore, name: string): Promise<unknown>
  after: Bodies
}

const uploadOld = (store: ImageStore, name: string) => upload(store, name, old)

const scenarios: Scenario[] = [
  {
    what: 'an upload',
    prepare: async () => {},
    before: {},
    // A given version: choosing one looks at all jobs, of which each round may leave one more.
    run: (store, name) => upload(store, name, large, { version: 'a', size: large.length }),
    after: { a: large },
  },
  {
    what: 'a rollback',
    prepare: uploadOld,
    before: { 1: old },
    run: (store, name) => store.rollback(name, '1'),
    after: { 1: old, 2: old },
  },
  {
    what: 'a delete',
    prepare: async (store, name) => {
      await uploadOld(store, name)
      await store.rollback(name, '1')
    },
    before: { 1: old, 2: old },
    run: (store, name) => store.remove(name),
    after: {},
  },
]

/** What is wrong with what is ready of a name; undefined when it is as it must be. */
function faultOf(
  found: Map<string, Buffer>,
  scenario: Scenario,
  isDone: boolean,
): string | undefined {
  const { before, after } = scenario
  for (const version of new Set([...Object.keys(before), ...Object.keys(after), ...found.keys()])) {
    const body = found.get(version)
    const allowed = isDone ? [after[version]] : [before[version], after[version]]
    const isAllowed = allowed.some((each) => (each && body ? each.equals(body) : each === body))
    if (!isAllowed) return `version ${version} has ${body?.length ?? 'no'} bytes`
  }
  return undefined
}

interface Round {
  name: string
  what: string
  isDone: boolean
}

/** The work with one failing call. Undefined when it makes no such call. */
async function failCall(
  { store }: OpenStore,
  faulty: FaultyDisk,
  scenario: Scenario,
  { index, errno }: { index: number; errno: string },
): Promise<Round | undefined> {
  const name = `image-${index}`
  await scenario.prepare(store, name)
  faulty.failAt(index, errno)
  const failure = await scenario.run(store, name).then(
    () => undefined,
    (error: unknown) => asError(error),
  )
  const call = faulty.calls[index]
  faulty.failWhen()
  if (!call) return undefined
  const what = `${scenario.what}, call ${index} (${call.verb} ${call.path}) fails with ${errno}`
  if (failure) assert.ok(isImageError(failure), `${what}: ${failure.stack}`)
  const round = { name, what, isDone: failure === undefined }
  const fault = faultOf(await readyBodies(store, name), scenario, round.isDone)
  assert.is(fault, undefined, `${what}: ${failure?.message ?? 'acknowledged'}`)
  return round
}

/** So that the next rounds do not have to look at more and more jobs. */
async function forgetFailures(store: ImageStore, name: string): Promise<void> {
  for (const { state, version } of await store.versions(name)) {
    if (state === 'failed') await store.remove(name, { version })
  }
}

/** Every third call of the scenario fails, from `first` on, then another process opens the store. */
async function failCalls(scenario: Scenario, first: number, root: string): Promise<number> {
  const faulty = new FaultyDisk(unsynced)
  const opened = await openStore(root, faulty.disk)
  const rounds: Round[] = []
  for (let index = first; ; index += errnos.length) {
    const errno = errnos[first] ?? 'EIO'
    const round = await failCall(opened, faulty, scenario, { index, errno })
    if (!round) break
    rounds.push(round)
    await forgetFailures(opened.store, round.name)
  }
  await opened.close()
  assert.equal(await openFiles(root), [], `${scenario.what}: descriptors`)
  const next = await openStore(root, unsynced)
  for (const { name, what, isDone } of rounds) {
    const fault = faultOf(await readyBodies(next.store, name), scenario, isDone)
    assert.is(fault, undefined, `${what}, and the store is opened again`)
  }
  assert.equal(await leftovers(next), [], scenario.what)
  await next.close()
  return rounds.length
}

/** How calls fail, one after the other. */
const errnos = ['ENOSPC', 'EIO', 'EMFILE']

/** In memory every sync is free. */
const unsynced: Disk = nodeDisk

for (const scenario of scenarios) {
  faults(`${scenario.what}: any call may fail, and nothing is lost, invented or left`, async () => {
    // Side by side: a call whose outcome is unclear is repeated after a while.
    const counts = await Promise.all(
      errnos.map(async (_, first) => {
        let calls = 0
        await withFolder(async (root) => {
          calls = await failCalls(scenario, first, root)
        }, memoryFolder)
        return calls
      }),
    )
    const calls = counts.reduce((sum, each) => sum + each)
    assert.ok(calls > 20, `only ${calls} calls were seen`)
    console.log(`  ${scenario.what}: ${calls} calls`)
  })
}

faults('an upload that has no room writes nothing, so that what is kept back is left', () =>
  withFolder(async (root) => {
    let isFull = false
    const faulty = new FaultyDisk({
      ...unsynced,
      statfs: async (path) => ({ ...(await nodeDisk.statfs(path)), ...(isFull && { bavail: 0 }) }),
    })
    const { store, close } = await openStore(root, faulty.disk)
    await upload(store, 'base', old)
    isFull = true
    faulty.failWhen()
    for (const size of [1, large.length, undefined]) {
      const failure = await upload(store, 'late', large, size ? { size } : {}).catch((e) => e)
      assert.ok(isImageError(failure, 'resource_exhausted'), String(failure))
      assert.is(failure.reason, 'no_space')
    }
    const changes = faulty.calls.filter(({ verb }) => ['write', 'link', 'mkdir'].includes(verb))
    assert.equal(changes, [])
    await store.remove('base')
    await close()
  }, memoryFolder),
)

faults.run()
