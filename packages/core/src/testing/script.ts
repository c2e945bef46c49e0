// An actor of an exploration: real code, run with scripted answers to learn what it does next.

import {
  type Backend,
  type Bytes,
  type PutOptions,
  type Stat,
  bytesOf,
  readAll,
} from '../backend.ts'
import { ImageError } from '../errors.ts'
import { parseMarkKey } from '../layout.ts'

export interface Actor {
  name: string
  /**
   * Any number of verbs on the backend; resolving means success, rejecting means it gave up. `tell`
   * says what its caller knows from that moment on.
   */
  run(backend: Backend, tell: (text: string) => void): Promise<unknown>
}

export type Operation =
  | { verb: 'put'; key: string; content: string; ifAbsent: boolean }
  | { verb: 'get' | 'stat' | 'delete' | 'list'; key: string }

/** What an actor does next, and what its caller has been told before that. */
export interface Next {
  operation?: Operation
  /** `done`, or the code of the error with which it gave up. */
  outcome?: string
  told: string
}

/** What an actor has seen so far; that alone decides what it does next. */
export type History = readonly string[]

export const absent = '\0absent'
export const exists = '\0exists'

/** A backend that answers from a history, and tells of the first call beyond it. */
class Script implements Backend {
  readonly name = 'script'
  readonly #actor: string
  readonly #history: History
  readonly #marks = new Map<string, string>()
  #asked = 0
  next: Operation | undefined

  constructor(actor: string, history: History) {
    this.#actor = actor
    this.#history = history
  }

  async put(key: string, bytes: Bytes, options: PutOptions = {}): Promise<Stat> {
    const content = (await readAll(bytes)).toString()
    const ifAbsent = options.ifAbsent === true
    const answer = await this.#answer({ verb: 'put', key: this.#rename(key), content, ifAbsent })
    if (answer === exists) throw new ImageError('already_exists', key)
    return this.#stat(key)
  }

  async get(key: string): Promise<Bytes> {
    const answer = await this.#answer({ verb: 'get', key: this.#rename(key) })
    if (answer === absent) throw new ImageError('not_found', key)
    return bytesOf(answer)
  }

  async stat(key: string): Promise<Stat> {
    const answer = await this.#answer({ verb: 'stat', key: this.#rename(key) })
    if (answer === absent) throw new ImageError('not_found', key)
    return this.#stat(key)
  }

  async *list(prefix: string): AsyncIterable<Stat> {
    const answer = await this.#answer({ verb: 'list', key: prefix })
    for (const line of answer.split('\n')) {
      const [key = '', tag] = line.split(' ')
      if (key !== '') yield this.#stat(key, tag)
    }
  }

  async delete(key: string): Promise<void> {
    await this.#answer({ verb: 'delete', key: this.#rename(key) })
  }

  #stat(key: string, tag: string = ''): Stat {
    return { key, size: 1, tag, modifiedAt: 0n }
  }

  /** The random last part of a mark becomes its actor's name and a number: runs must not differ. */
  #rename(key: string): string {
    if (!parseMarkKey(key)) return key
    const known = this.#marks.get(key) ?? `${this.#actor}${this.#marks.size}`
    this.#marks.set(key, known)
    return key.replace(/[^/]+$/, `${known}.json`)
  }

  async #answer(operation: Operation): Promise<string> {
    const answer = this.#history[this.#asked++]
    if (answer !== undefined) return answer
    this.next ??= operation
    // The actor waits for ever: the same one is run again, with one answer more.
    return await new Promise<string>(() => {})
  }
}

/** Runs an actor with these answers. */
export async function learn(actor: Actor, history: History): Promise<Next> {
  const script = new Script(actor.name, history)
  let outcome: string | undefined
  let told = ''
  const tell = (text: string): void => {
    if (script.next === undefined) told = text
  }
  actor.run(script, tell).then(
    () => (outcome = 'done'),
    (error: unknown) => (outcome = error instanceof ImageError ? error.code : String(error)),
  )
  for (let turns = 0; turns < 20; turns++) {
    if (outcome !== undefined) return { outcome, told }
    if (script.next) return { operation: script.next, told }
    await new Promise((resolve) => setImmediate(resolve))
  }
  throw new Error(`${actor.name} neither asks nor ends`)
}
