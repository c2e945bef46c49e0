// Which calls are let into the kernel: only so many at a time, the rest wait for their turn. Each holds
// a thread of libuv's pool, which DNS and much else needs too, for as long as the kernel takes.

import { ImageError } from '@backing-image/core'

/**
 * What a call does: `look` at names and numbers, `read` bytes, `write` or sync bytes, `change` names,
 * `close` a file, or `scan`, which is under way in a thread of its own and takes no slot.
 */
export type Kind = 'look' | 'read' | 'write' | 'change' | 'close' | 'scan'

export interface Call {
  kind: Kind
  /** For messages: the call and its path. */
  verb: string
  path: string
  begin: () => unknown
  leave: (error: ImageError) => void
  /** Its place among all that were asked for. */
  order: number
  /** When it was let in, by the clock of the guard and by that of the wall. */
  atMs: number
  since: number
  /** Its caller has been told that it failed; only the kernel still has it. */
  isLeft: boolean
}

/** More callers than this are no load any more but a leak. */
const queueLengthMax = 20_000
/** What else needs the pool: DNS, certificates, the code of a new thread; and the guard's probe. */
const otherThreads = 4

/** The threads of libuv's pool, less some for everything else; at least two. */
export function usualSlots(): number {
  const threads = Number(process.env['UV_THREADPOOL_SIZE']) || 4
  return Math.max(2, Math.min(threads, 1024) - otherThreads)
}

export class Slots {
  /** In the kernel now; those that were left too. */
  readonly running: Set<Call> = new Set()
  readonly #slots: number
  readonly #dataSlots: number
  readonly #names: Call[] = []
  readonly #data: Call[] = []
  readonly #onBegin: (call: Call) => void
  #order = 0
  /** Of those in the kernel, how many hold a slot, and how many of those have to do with bytes. */
  #held = 0
  #heldByData = 0

  constructor(slots: number, onBegin: (call: Call) => void) {
    this.#slots = slots
    // Bytes never take all of them: who only looks is not to wait for the long syncs of others.
    this.#dataSlots = slots - Math.floor(slots / 4)
    this.#onBegin = onBegin
  }

  /** Lets the call in, now or when it is its turn. */
  enter(call: Call, path: string): void {
    this.#order += 1
    call.order = this.#order
    if (this.#hasRoom(call.kind)) return this.#begin(call)
    const queue = isData(call.kind) ? this.#data : this.#names
    // A close is never refused: its descriptor would be lost.
    if (queue.length >= queueLengthMax && call.kind !== 'close') {
      const text = `${queue.length} calls wait for ${path} already. Try again later.`
      return call.leave(new ImageError('unavailable', text))
    }
    queue.push(call)
  }

  /** The call has returned: its slot is for the next. */
  end(call: Call): void {
    this.running.delete(call)
    this.#hold(call.kind, -1)
    for (let next = this.#next(); next; next = this.#next()) this.#begin(next)
  }

  /** Those in the kernel whose callers still wait. */
  waiting(): Call[] {
    return [...this.running].filter((call) => !call.isLeft)
  }

  /** Takes all out that have not been let in. */
  takeQueued(): Call[] {
    return [...this.#names.splice(0), ...this.#data.splice(0)]
  }

  /** True when calls that nobody waits for any more leave no room for others. */
  isClogged(): boolean {
    const left = [...this.running].filter((call) => call.isLeft && call.kind !== 'scan')
    const leftByData = left.filter((call) => isData(call.kind))
    return left.length >= this.#slots || leftByData.length >= this.#dataSlots
  }

  #begin(call: Call): void {
    this.running.add(call)
    this.#hold(call.kind, 1)
    this.#onBegin(call)
    call.begin()
  }

  #hold(kind: Kind, change: 1 | -1): void {
    if (kind !== 'scan') this.#held += change
    if (isData(kind)) this.#heldByData += change
  }

  #hasRoom(kind: Kind): boolean {
    if (kind === 'scan') return true
    return this.#held < this.#slots && (!isData(kind) || this.#heldByData < this.#dataSlots)
  }

  /** First come, first served; but bytes that may not go on yet hold nobody else up. */
  #next(): Call | undefined {
    const [name] = this.#names
    const [data] = this.#data
    const isNameNext = name && this.#hasRoom(name.kind)
    const isDataNext = data && this.#hasRoom(data.kind)
    if (isNameNext && !(isDataNext && data.order < name.order)) return this.#names.shift()
    return isDataNext ? this.#data.shift() : undefined
  }
}

function isData(kind: Kind): boolean {
  return kind === 'read' || kind === 'write'
}
