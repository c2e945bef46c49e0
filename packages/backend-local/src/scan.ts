// Many small objects at once: a thread lists and reads them with calls that block only itself. Asked
// for one by one through libuv's pool, ten thousand records cost several times as much.

import { Worker } from 'node:worker_threads'
import type { Scanned } from '@backing-image/core'
import { translate } from './disk.ts'

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

/** One thread for all scans of a backend; it starts with the first. */
export class Scanner {
  #worker: Worker | undefined
  #lastId = 0
  readonly #waiting = new Map<number, (reply: ScanReply) => void>()

  /** The objects under `prefix`, in no order. */
  async *scan(
    root: string,
    prefix: string,
    known: ReadonlyMap<string, string>,
  ): AsyncGenerator<Scanned> {
    const id = ++this.#lastId
    let isOver = false
    try {
      let reply = await this.#ask({ kind: 'scan', id, root, prefix, known })
      for (;;) {
        isOver = reply.isLast
        if (reply.failure) throw failed(reply.failure)
        yield* reply.batch
        if (isOver) return
        reply = await this.#ask({ kind: 'next', id })
      }
    } finally {
      if (!isOver) this.#worker?.postMessage({ kind: 'stop', id } satisfies ScanOrder)
    }
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  #ask(order: ScanOrder): Promise<ScanReply> {
    const worker = (this.#worker ??= this.#start())
    return new Promise((resolve) => {
      if (this.#waiting.size === 0) worker.ref()
      this.#waiting.set(order.id, resolve)
      worker.postMessage(order)
    })
  }

  #start(): Worker {
    const worker = new Worker(new URL('./scan-thread.js', import.meta.url), {
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    })
    worker.on('message', (reply: ScanReply) => this.#answer(reply))
    const end = (error: Error | undefined): void => {
      if (this.#worker === worker) this.#worker = undefined
      const message = `The thread that reads records has ended: ${error?.message ?? 'closed'}`
      const failure = { code: 'EIO', message, path: 'its store' }
      for (const id of this.#waiting.keys()) this.#answer({ id, batch: [], isLast: true, failure })
    }
    worker.on('error', end)
    worker.on('exit', () => end(undefined))
    // Last: to listen for messages refers to the worker again.
    worker.unref()
    return worker
  }

  #answer(reply: ScanReply): void {
    const resolve = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    // Only a thread that owes an answer keeps the process alive.
    if (this.#waiting.size === 0) this.#worker?.unref()
    resolve?.(reply)
  }
}

function failed({ code, message, path }: NonNullable<ScanReply['failure']>): unknown {
  return translate(Object.assign(new Error(message), { code }), `read ${path}`)
}
