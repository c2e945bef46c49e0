// Many small objects at once: a thread lists and reads them with calls that block only itself. Asked
// for one by one through libuv's pool, ten thousand records cost several times as much.

import { Worker } from 'node:worker_threads'
import type { Scanned } from '@backing-image/core'
import { translate } from './disk.ts'
import type { Guard } from './guard.ts'

/** What the thread is asked for; `next` says that the last batch was taken. */
export type ScanOrder =
  | { kind: 'scan'; id: number; root: string; prefix: string; known: ReadonlyMap<string, string> }
  | { kind: 'next' | 'stop'; id: number }

/** A batch, the end, or what went wrong. */
export interface ScanReply {
  id: number
  batch: Scanned[]
  isLast: boolean
  failure?: { code: string; message: string; path: string }
}

/** One thread for all scans of a backend; it starts with the first. One that hangs is left behind. */
export class Scanner {
  readonly #guard: Guard
  readonly #code: URL
  #thread: Thread | undefined
  #lastId = 0

  /** `code` is what a thread runs. */
  constructor(guard: Guard, code: URL = new URL('./scan-thread.js', import.meta.url)) {
    this.#guard = guard
    this.#code = code
  }

  /** The objects under `prefix`, in no order. */
  async *scan(
    root: string,
    prefix: string,
    known: ReadonlyMap<string, string>,
  ): AsyncGenerator<Scanned> {
    const id = ++this.#lastId
    let thread: Thread | undefined
    let isOver = false
    const ask = async (order: ScanOrder): Promise<ScanReply> => {
      const path = `${root}/${prefix}`
      return await this.#guard.run('scan', { verb: 'scan', path }, async () => {
        thread ??= this.#living()
        const answer = await thread.ask(order)
        // Of the medium itself, for the guard to see.
        if (answer.failure) throw failed(answer.failure)
        return answer
      })
    }
    try {
      let reply = await ask({ kind: 'scan', id, root, prefix, known })
      for (;;) {
        isOver = reply.isLast
        yield* reply.batch
        if (isOver) return
        reply = await ask({ kind: 'next', id })
      }
    } finally {
      // It was left: whoever scans next gets a thread that does not hang.
      if (thread?.owes(id)) void thread.end()
      else if (!isOver) thread?.post({ kind: 'stop', id })
    }
  }

  #living(): Thread {
    if (this.#thread?.isEnded !== false) this.#thread = new Thread(this.#code)
    return this.#thread
  }

  /** Does not wait for a thread that hangs. */
  async close(): Promise<void> {
    if (this.#thread?.isIdle) await this.#thread.end()
    else void this.#thread?.end()
  }
}

class Thread {
  isEnded = false
  readonly #worker: Worker
  readonly #waiting = new Map<number, (reply: ScanReply) => void>()

  constructor(code: URL) {
    this.#worker = new Worker(code, { resourceLimits: { maxYoungGenerationSizeMb: 8 } })
    this.#worker.on('message', (reply: ScanReply) => this.#answer(reply))
    this.#worker.on('error', (error) => this.#fail(error.message))
    this.#worker.on('exit', () => this.#fail('closed'))
    // Last: to listen for messages refers to the worker again.
    this.#worker.unref()
  }

  get isIdle(): boolean {
    return this.#waiting.size === 0
  }

  owes(id: number): boolean {
    return this.#waiting.has(id)
  }

  ask(order: ScanOrder): Promise<ScanReply> {
    return new Promise((resolve) => {
      if (this.isIdle) this.#worker.ref()
      this.#waiting.set(order.id, resolve)
      // An order to a thread that has ended would never be answered.
      if (this.isEnded) this.#fail('closed')
      else this.post(order)
    })
  }

  post(order: ScanOrder): void {
    this.#worker.postMessage(order)
  }

  /** Resolves when the thread is gone: one that hangs ends as soon as its call returns. */
  async end(): Promise<void> {
    this.isEnded = true
    this.#worker.unref()
    await this.#worker.terminate()
  }

  #answer(reply: ScanReply): void {
    const resolve = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    // Only a thread that owes an answer keeps the process alive.
    if (this.isIdle) this.#worker.unref()
    resolve?.(reply)
  }

  #fail(why: string): void {
    this.isEnded = true
    const message = `The thread that reads records has ended: ${why}`
    const failure = { code: 'EIO', message, path: 'its store' }
    for (const id of this.#waiting.keys()) this.#answer({ id, batch: [], isLast: true, failure })
  }
}

function failed({ code, message, path }: NonNullable<ScanReply['failure']>): unknown {
  return translate(Object.assign(new Error(message), { code }), `read ${path}`)
}
