// A backend whose n-th call fails, before it has an effect or after it had: for runs that fail
// every call of an operation in turn.

import type { Backend, Bytes, GetOptions, Owners, PutOptions, Remains } from '../backend.ts'
import type { Resumable, Stat, Unfinished, UnfinishedPut } from '../backend.ts'
import { type Code, ImageError } from '../errors.ts'
import type { MemoryBackend } from './memory.ts'

export interface Fault {
  /** Which call fails, counted from 1; from then on no other does. */
  call: number
  code: Code
  /** Whether the call does its work all the same. */
  when: 'before' | 'after'
}

export class FaultyBackend implements Backend, Unfinished, Resumable, Owners {
  readonly name = 'faulty'
  readonly owner: string
  fault: Fault | undefined
  /** Calls since the fault was set. */
  calls = 0
  /** What failed, for messages. */
  failed = ''
  readonly #inner: MemoryBackend

  constructor(inner: MemoryBackend) {
    this.#inner = inner
    this.owner = inner.owner
  }

  async put(key: string, bytes: Bytes, options?: PutOptions): Promise<Stat> {
    return await this.#run(`put ${key}`, () => this.#inner.put(key, bytes, options))
  }

  async get(key: string, options?: GetOptions): Promise<Bytes> {
    return await this.#run(`get ${key}`, () => this.#inner.get(key, options))
  }

  async stat(key: string): Promise<Stat> {
    return await this.#run(`stat ${key}`, () => this.#inner.stat(key))
  }

  async *list(prefix: string): AsyncIterable<Stat> {
    const error = this.#error(`list ${prefix}`)
    if (error && this.fault?.when === 'before') throw error
    yield* this.#inner.list(prefix)
    if (error) throw error
  }

  async delete(key: string): Promise<void> {
    await this.#run(`delete ${key}`, () => this.#inner.delete(key))
  }

  unfinished(): AsyncIterable<UnfinishedPut> {
    return this.#inner.unfinished()
  }

  async discard(id: string): Promise<void> {
    await this.#inner.discard(id)
  }

  async remains(key: string, owner: string, durableBytes: number): Promise<Remains | undefined> {
    return await this.#run(`remains ${key}`, () => this.#inner.remains(key, owner, durableBytes))
  }

  async isGone(owner: string): Promise<boolean> {
    return await this.#inner.isGone(owner)
  }

  #error(call: string): ImageError | undefined {
    this.calls += 1
    if (this.fault?.call !== this.calls) return undefined
    this.failed = call
    return new ImageError(this.fault.code, `The call "${call}" failed on purpose.`)
  }

  async #run<T>(call: string, work: () => Promise<T>): Promise<T> {
    const error = this.#error(call)
    if (error && this.fault?.when === 'before') throw error
    const result = await work()
    if (error) throw error
    return result
  }
}
