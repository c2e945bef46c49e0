// Explores every interleaving of a few actors over one store. Each actor is the real code: it is run
// with scripted answers to learn what it does next, and what it does is applied to a model of the
// store, so that each reachable state is visited once however many orders lead to it.

import {
  type Backend,
  type Bytes,
  type PutOptions,
  type Stat,
  bytesOf,
  readAll,
} from '../backend.ts'
import { ImageError } from '../errors.ts'

export interface Actor {
  name: string
  /** Any number of verbs on the backend; resolving means success, rejecting means it gave up. */
  run(backend: Backend): Promise<unknown>
}

/** What a state is, when all that could be seen of it has been applied. */
export interface Explored {
  /** Key to content. */
  objects: ReadonlyMap<string, string>
  /** `done`, `failed`, or undefined while it runs (or has stopped for ever). */
  outcomes: readonly (string | undefined)[]
}

type Operation =
  | { verb: 'put'; key: string; content: string; ifAbsent: boolean }
  | { verb: 'get' | 'stat' | 'delete' | 'list'; key: string }

type Next = { operation: Operation } | { outcome: string }

/** What an actor has seen so far; that alone decides what it does next. */
type History = readonly string[]

const absent = '\0absent'
const exists = '\0exists'

/** A backend that answers from a history, and tells of the first call beyond it. */
class Script implements Backend {
  readonly name = 'script'
  readonly #history: History
  readonly #rename: (key: string) => string
  #asked = 0
  next: Operation | undefined

  constructor(history: History, rename: (key: string) => string) {
    this.#history = history
    this.#rename = rename
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
    for (const key of answer.split('\n')) if (key !== '') yield this.#stat(key)
  }

  async delete(key: string): Promise<void> {
    await this.#answer({ verb: 'delete', key: this.#rename(key) })
  }

  #stat(key: string): Stat {
    return { key, size: 1, tag: key, modifiedAt: 0n }
  }

  async #answer(operation: Operation): Promise<string> {
    const answer = this.#history[this.#asked++]
    if (answer !== undefined) return answer
    this.next ??= operation
    // The actor waits for ever: the same one is run again, with one answer more.
    return await new Promise<string>(() => {})
  }
}

/** The random last part of a mark becomes its actor's name: runs must not differ by it. */
function renamer(actor: Actor): (key: string) => string {
  return (key) => (key.startsWith('.marks/') ? key.replace(/[^/]+$/, `${actor.name}.json`) : key)
}

async function learn(actor: Actor, history: History): Promise<Next> {
  const script = new Script(history, renamer(actor))
  let outcome: string | undefined
  actor.run(script).then(
    () => (outcome = 'done'),
    (error: unknown) => (outcome = error instanceof ImageError ? error.code : String(error)),
  )
  for (let turns = 0; turns < 20; turns++) {
    if (outcome !== undefined) return { outcome }
    if (script.next) return { operation: script.next }
    await new Promise((resolve) => setImmediate(resolve))
  }
  throw new Error(`${actor.name} neither asks nor ends`)
}

/** Where an actor stands: what it saw, by number, and what it does next. */
interface Place {
  id: number
  next: Next
  /** A list under way: the keys that were there at its beginning and still are. */
  listing?: readonly string[]
}

interface State {
  objects: ReadonlyMap<string, string>
  places: readonly Place[]
}

export interface ExploreOptions {
  /** Keys that no actor reads: to delete one is no step of its own. */
  unread?: readonly string[]
  /** The last so many actors do the same: which of them stands where makes no difference. */
  alike?: number
}

/** What each actor does after each history, run once and remembered. */
class Behaviour {
  readonly #actors: readonly Actor[]
  readonly #histories: History[] = []
  readonly #places = new Map<string, Place>()

  constructor(actors: readonly Actor[]) {
    this.#actors = actors
  }

  async begin(index: number): Promise<Place> {
    return await this.#place(index, [])
  }

  /** A known place without a promise: nearly all are. */
  after(index: number, place: Place, answer: string): Place | Promise<Place> {
    const key = `${index} ${place.id} ${answer}`
    const known = this.#places.get(key)
    if (known) return known
    return this.#place(index, [...(this.#histories[place.id] ?? []), answer]).then((made) => {
      this.#places.set(key, made)
      return made
    })
  }

  async #place(index: number, history: History): Promise<Place> {
    const actor = this.#actors[index]
    if (!actor) throw new Error('no such actor')
    const next = await learn(actor, history)
    return { id: this.#histories.push(history) - 1, next }
  }
}

/**
 * Visits every state that the actors can reach from `objects` and calls `check` in each. A list takes
 * two steps and shows only what was there from the first to the second: the least that the contract
 * allows. Returns the number of states.
 */
export async function explore(
  objects: ReadonlyMap<string, string>,
  actors: readonly Actor[],
  check: (state: Explored) => void,
  options: ExploreOptions = {},
): Promise<number> {
  const unread = new Set(options.unread)
  const behaviour = new Behaviour(actors)
  const places = await Promise.all(actors.map((_, index) => behaviour.begin(index)))
  const name = namer(options.alike ?? 0)
  const pending: State[] = [{ objects, places }]
  const seen = new Set<string>([name({ objects, places })])
  for (let state = pending.pop(); state; state = pending.pop()) {
    check({ objects: state.objects, outcomes: state.places.map(outcomeOf) })
    for (let index = 0; index < actors.length; index++) {
      let following = step(state, index, behaviour)
      if (following instanceof Promise) following = await following
      while (following && isUnread(following.places[index], unread)) {
        following = await step(following, index, behaviour)
      }
      if (!following) continue
      const key = name(following)
      if (seen.has(key)) continue
      seen.add(key)
      pending.push(following)
    }
  }
  return seen.size
}

function isUnread(place: Place | undefined, unread: ReadonlySet<string>): boolean {
  if (!place || 'outcome' in place.next) return false
  const { verb, key } = place.next.operation
  return verb === 'delete' && unread.has(key)
}

function outcomeOf(place: Place): string | undefined {
  return 'outcome' in place.next ? place.next.outcome : undefined
}

/** A short text that is the same for the same state, and for no other. */
function namer(alike: number): (state: State) => string {
  const numbers = new Map<string, number>()
  const number = (text: string): number => {
    let known = numbers.get(text)
    if (known === undefined) numbers.set(text, (known = numbers.size))
    return known
  }
  return ({ objects, places }) => {
    const objectNumbers = [...objects].map(([key, content]) => number(`${key} ${content}`))
    const text = objectNumbers.toSorted((a, b) => a - b)
    const at = places.map((place) => {
      // What an actor that has ended had seen makes no difference any more.
      if ('outcome' in place.next) return String(number(place.next.outcome))
      const listing = place.listing ? number(place.listing.join(' ')) : ''
      return `${place.id}:${listing}`
    })
    const same = at.splice(at.length - alike).toSorted()
    return `${text.join()} ${at.join()} ${same.join()}`
  }
}

function step(
  state: State,
  index: number,
  behaviour: Behaviour,
): State | Promise<State> | undefined {
  const place = state.places[index]
  if (!place || 'outcome' in place.next) return undefined
  const { operation } = place.next
  if (operation.verb === 'list' && !place.listing) {
    const keys = [...state.objects.keys()].filter((key) => key.startsWith(operation.key))
    return moved(state, state.objects, index, { ...place, listing: keys.toSorted() })
  }
  const objects = new Map(state.objects)
  const answer = place.listing ? place.listing.join('\n') : apply(objects, operation)
  const gone = operation.verb === 'delete' ? operation.key : undefined
  const next = behaviour.after(index, place, answer)
  if (next instanceof Promise) return next.then((made) => moved(state, objects, index, made, gone))
  return moved(state, objects, index, next, gone)
}

function moved(
  state: State,
  objects: ReadonlyMap<string, string>,
  index: number,
  place: Place,
  gone?: string,
): State {
  const places = state.places.map((each, at) => (at === index ? place : without(each, gone)))
  return { objects, places }
}

/** A key that goes while a list runs need not be in it. */
function without(place: Place, key: string | undefined): Place {
  if (key === undefined || !place.listing?.includes(key)) return place
  return { ...place, listing: place.listing.filter((each) => each !== key) }
}

function apply(objects: Map<string, string>, operation: Operation): string {
  const { key } = operation
  const content = objects.get(key)
  if (operation.verb === 'put') {
    if (operation.ifAbsent && content !== undefined) return exists
    objects.set(key, operation.content)
    return 'put'
  }
  if (operation.verb === 'delete') objects.delete(key)
  return operation.verb === 'delete' ? 'deleted' : (content ?? absent)
}
