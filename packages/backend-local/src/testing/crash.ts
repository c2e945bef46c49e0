// What a power cut may leave: after any step, with any of the changes lost that no sync had covered.
// A name in a folder and the content of a file are independent; harsher than any real file system.

import { createHash } from 'node:crypto'
import { closeSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { dataRuns } from '../writer.ts'
import type { Kind, Step } from './recorder.ts'

/** A path under the root, and its content; undefined is a folder. Parents come first. */
export type Tree = Map<string, Buffer | undefined>

export interface CrashState<Note> {
  /** How many steps were taken. */
  at: number
  /** The notes among them. */
  notes: Note[]
  tree: Tree
}

export interface CrashOptions {
  /** About how many states to give; fewer when there are not so many. */
  statesMax: number
  /** Chooses among the states where they are too many; the same seed gives the same ones. */
  seed: number
}

type NameStep = Extract<Step<unknown>, { is: 'name' }>
type DataStep = Extract<Step<unknown>, { is: 'write' | 'truncate' }>
type Choose = (options: number) => number

interface Numbered<T> {
  index: number
  step: T
}

/** The changes so far, each with its number, and up to where each inode is on the medium. */
class Medium {
  readonly names = new Map<number, Map<string, Numbered<NameStep>[]>>()
  readonly data = new Map<number, Numbered<DataStep>[]>()
  readonly synced = new Map<number, number>()
  readonly #contents = new Map<string, Buffer>()
  readonly #random: () => number

  constructor(random: () => number) {
    this.#random = random
  }

  take(step: Step<unknown>, index: number): void {
    if (step.is === 'note') return
    if (step.is === 'sync') {
      this.synced.set(step.inode, Math.max(step.upTo, this.synced.get(step.inode) ?? 0))
    } else if (step.is === 'name') {
      const folder = this.names.get(step.folder) ?? new Map<string, Numbered<NameStep>[]>()
      this.names.set(step.folder, folder)
      folder.set(step.name, [...(folder.get(step.name) ?? []), { index, step }])
    } else this.data.set(step.inode, [...(this.data.get(step.inode) ?? []), { index, step }])
  }

  tree(choose: Choose): Tree {
    const tree: Tree = new Map()
    this.#fill(tree, '', 0, choose)
    return tree
  }

  #fill(tree: Tree, prefix: string, folder: number, choose: Choose): void {
    const synced = this.synced.get(folder) ?? 0
    const all = this.names.get(folder) ?? new Map<string, Numbered<NameStep>[]>()
    const chosen = new Map<string, Numbered<NameStep> | undefined>()
    for (const [name, changes] of all) {
      const sure = changes.findLast(({ index }) => index < synced)
      const candidates = [sure, ...changes.filter(({ index }) => index >= synced)]
      chosen.set(name, candidates[choose(candidates.length)])
    }
    for (const [name, change] of chosen) {
      const { step } = whole(change, all.get(name) ?? [], chosen) ?? {}
      if (step?.inode === undefined) continue
      this.#put(tree, prefix + name, step.inode, step.kind, choose)
    }
  }

  #put(tree: Tree, path: string, inode: number, kind: Kind, choose: Choose): void {
    if (kind === 'file') tree.set(path, this.#content(inode, choose))
    else {
      tree.set(path, undefined)
      this.#fill(tree, `${path}/`, inode, choose)
    }
  }

  #content(inode: number, choose: Choose): Buffer {
    const all = this.data.get(inode) ?? []
    const synced = this.synced.get(inode) ?? 0
    const sure = all.filter(({ index }) => index < synced)
    if (sure.length === all.length) return this.#first(inode, all)
    const unsure = all.slice(sure.length)
    switch (choose(4)) {
      case 0:
        return this.#first(inode, sure)
      case 1:
        return this.#first(inode, all)
      case 2:
        // Some changes and not others, in no order.
        return contentOf([...sure, ...unsure.filter(() => this.#random() < 0.5)])
      default:
        return this.#torn(this.#first(inode, sure), this.#first(inode, all))
    }
  }

  /** After the first changes of an inode; remembered, since nearly every state has it again. */
  #first(inode: number, changes: Numbered<DataStep>[]): Buffer {
    const id = `${inode} ${changes.length}`
    const content = this.#contents.get(id) ?? contentOf(changes)
    this.#contents.set(id, content)
    return content
  }

  /** The new length, but not every sector: what is missing is old, or zero. */
  #torn(before: Buffer, after: Buffer): Buffer {
    const torn = Buffer.alloc(after.length)
    before.copy(torn)
    for (let start = 0; start < torn.length; start += 512) {
      if (this.#random() < 0.5) after.copy(torn, start, start, start + 512)
    }
    return torn
  }
}

/** The change of a name as it may have been chosen: none that takes away what the new name lacks. */
function whole(
  change: Numbered<NameStep> | undefined,
  changes: Numbered<NameStep>[],
  chosen: ReadonlyMap<string, Numbered<NameStep> | undefined>,
): Numbered<NameStep> | undefined {
  const { renamedTo } = change?.step ?? {}
  if (!change || renamedTo === undefined) return change
  // The new name was noted just before.
  const isThere = (chosen.get(renamedTo)?.index ?? -1) >= change.index - 1
  return isThere ? change : changes.findLast(({ index }) => index < change.index)
}

function contentOf(changes: Numbered<DataStep>[]): Buffer {
  let content = Buffer.alloc(0)
  const resize = (length: number): void => {
    if (length <= content.length) content = content.subarray(0, length)
    else content = Buffer.concat([content], length)
  }
  for (const { step } of changes) {
    if (step.is === 'truncate') resize(step.length)
    else {
      resize(Math.max(content.length, step.position + step.data.length))
      step.data.copy(content, step.position)
    }
  }
  // A copy: `subarray` above may show a shorter part of what another state shares.
  return Buffer.from(content)
}

/** Numbers in [0, 1), always the same for one seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Every outcome of `build`, whatever it chooses. */
function* everyChoice<T>(build: (choose: Choose) => T): Generator<T> {
  const path: number[] = []
  for (;;) {
    const counts: number[] = []
    const choose: Choose = (options) => {
      const at = counts.push(options) - 1
      return (path[at] ??= 0)
    }
    yield build(choose)
    path.length = counts.length
    while (path.length > 0 && (path.at(-1) ?? 0) + 1 === counts[path.length - 1]) path.pop()
    if (path.length === 0) return
    path[path.length - 1] = (path.at(-1) ?? 0) + 1
  }
}

/** The states that a power cut may leave, each at most once for the same notes. */
export function* crashStates<Note>(
  steps: Step<Note>[],
  options: CrashOptions,
): Generator<CrashState<Note>> {
  const random = seeded(options.seed)
  const medium = new Medium(random)
  const perStep = Math.max(1, Math.ceil(options.statesMax / (steps.length + 1)))
  const seen = new Set<string>()
  const notes: Note[] = []
  for (let at = 0; at <= steps.length; at += 1) {
    for (const tree of treesOf(medium, perStep, random)) {
      const id = `${notes.length} ${digestOf(tree)}`
      if (!seen.has(id)) yield { at, notes: [...notes], tree }
      seen.add(id)
    }
    const step = steps[at]
    if (!step) return
    if (step.is === 'note') notes.push(step.note)
    medium.take(step, at)
  }
}

/** All trees of this moment; where those are too many, a random choice of them. */
function* treesOf(medium: Medium, treesMax: number, random: () => number): Generator<Tree> {
  const all: Tree[] = []
  for (const tree of everyChoice((choose) => medium.tree(choose))) {
    if (all.push(tree) > treesMax) break
  }
  if (all.length <= treesMax) yield* all
  else {
    for (let count = 0; count < treesMax; count += 1) {
      yield medium.tree((choices) => Math.floor(random() * choices))
    }
  }
}

const digests = new WeakMap<Buffer, string>()

function digestOf(tree: Tree): string {
  const hash = createHash('sha1')
  for (const [path, content] of tree) {
    let digest = content && digests.get(content)
    if (content && digest === undefined) {
      digest = createHash('sha1').update(content).digest('hex')
      digests.set(content, digest)
    }
    hash.update(`${path} ${digest}\n`)
  }
  return hash.digest('hex')
}

/** Writes a tree into an empty folder. */
export function materialize(tree: Tree, root: string): void {
  for (const [path, content] of tree) {
    if (content) write(join(root, path), content)
    else mkdirSync(join(root, path))
  }
}

/** With holes: most of a test's images are zeros, and there are thousands of states. */
function write(path: string, content: Buffer): void {
  const file = openSync(path, 'wx')
  for (const [start, end] of dataRuns(content, 0)) {
    writeSync(file, content, start, end - start, start)
  }
  ftruncateSync(file, content.length)
  closeSync(file)
}
