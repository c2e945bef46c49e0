// Explores every interleaving of a few actors over one store. What each does next is learnt by running
// it (script.ts) and applied to a model of the store, so that each reachable state is visited once,
// however many orders lead to it.

import { StateSet } from './states.ts'
import { type Actor, type History, type Operation, learn } from './script.ts'
import { Worlds } from './worlds.ts'

export type { Actor } from './script.ts'

/** What a state is, when all that could be seen of it has been applied. */
export interface Explored {
  /** Key to content. */
  objects: ReadonlyMap<string, string>
  /** `done`, an error's code, or undefined while it runs (or has stopped for ever). */
  outcomes: readonly (string | undefined)[]
  /** What the caller of each actor knows; empty at first. */
  told: readonly string[]
}

export interface ExploreOptions {
  /** The one answer that there is to an operation whose effect nobody sees: it is no step at all. */
  only?: (operation: Operation) => string | undefined
}

/** Where an actor stands: what it saw, by number, and what it does next. */
interface Place {
  id: number
  history: History
  operation?: Operation
  outcome?: string
  told: string
  /** Short for both. */
  look: string
  /** What it does from here on, where no answer makes a difference: places that agree are one. */
  tail?: string
  /** A list under way: what was there at its beginning, and still is; and the place before it. */
  listing?: readonly string[]
  before?: number
}

/** What each actor does after each history, run once and remembered. */
class Behaviour {
  readonly #actors: readonly Actor[]
  readonly #only: (operation: Operation) => string | undefined
  readonly places: Place[] = []
  readonly #following = new Map<string, Place>()
  readonly #tails = new Map<string, Place>()
  readonly #listings = new Map<string, Place>()

  constructor(actors: readonly Actor[], options: ExploreOptions) {
    this.#actors = actors
    this.#only = options.only ?? (() => undefined)
  }

  async begin(index: number): Promise<Place> {
    return await this.#place(index, [])
  }

  async after(index: number, place: Place, answer: string): Promise<Place> {
    const { id, before = id, history } = place
    const key = `${before} ${answer}`
    const known = this.#following.get(key)
    if (known) return known
    const made = await this.#place(index, [...history, answer])
    this.#following.set(key, made)
    return made
  }

  listing(place: Place, listing: readonly string[]): Place {
    const { before = place.id } = place
    const key = `${before} ${listing.join()}`
    let known = this.#listings.get(key)
    if (!known) this.#listings.set(key, (known = this.#add({ ...place, before, listing })))
    return known
  }

  async #place(index: number, history: History): Promise<Place> {
    const actor = this.#actors[index]
    if (!actor) throw new Error('no such actor')
    const { operation, outcome, told } = await learn(actor, history)
    const only = operation && this.#only(operation)
    if (only !== undefined) return await this.#place(index, [...history, only])
    const tail = operation
      ? await this.#tailOf(index, history, operation)
      : `${index} ${outcome} ${told}`
    const known = tail === undefined ? undefined : this.#tails.get(`${told} ${tail}`)
    if (known) return known
    const place = this.#add({
      history,
      told,
      ...(operation && { operation }),
      ...(outcome !== undefined && { outcome }),
      ...(tail !== undefined && { tail }),
    })
    if (tail !== undefined) this.#tails.set(`${told} ${tail}`, place)
    return place
  }

  /** Deletes, and the puts of fresh marks, have one answer: what comes after them is known. */
  async #tailOf(
    index: number,
    history: History,
    operation: Operation,
  ): Promise<string | undefined> {
    const { verb, key } = operation
    if (verb !== 'delete' && !(verb === 'put' && key.startsWith('.marks/'))) return undefined
    const { told, tail } = await this.#place(index, [...history, verb])
    return tail === undefined ? undefined : `${verb} ${key}, ${told} ${tail}`
  }

  #add(place: Omit<Place, 'id' | 'look'>): Place {
    const look = ` ${place.told}/${place.outcome}`
    const made = { ...place, look, id: this.places.length }
    this.places.push(made)
    return made
  }
}

/** What one step of one actor makes of a world. */
interface Move {
  world: number
  place: number
  /** A key that is deleted. */
  gone?: string
}

class Exploration {
  readonly #worlds = new Worlds()
  readonly #behaviour: Behaviour
  readonly #actors: readonly Actor[]
  readonly #check: (state: Explored) => void
  readonly #checked = new Set<string>()
  /** Of each place, by world. */
  readonly #moves: Map<number, Move>[] = []
  readonly #without = new Map<string, number>()

  constructor(actors: readonly Actor[], check: (state: Explored) => void, options: ExploreOptions) {
    this.#actors = actors
    this.#check = check
    this.#behaviour = new Behaviour(actors, options)
  }

  /** A state is the number of its world, and those of its actors' places. */
  async run(objects: ReadonlyMap<string, string>): Promise<number> {
    const width = this.#actors.length + 1
    const states = new StateSet(width)
    const state = new Uint32Array(width)
    const next = new Uint32Array(width)
    state[0] = this.#worlds.number(objects)
    for (const index of this.#actors.keys()) {
      state[index + 1] = (await this.#behaviour.begin(index)).id
    }
    states.add(state)
    const pending = [0]
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      states.read(at, state)
      this.#look(state)
      for (let index = 1; index < width; index++) {
        const place = this.#place(state[index])
        if (!place.operation) continue
        const world = state[0] ?? 0
        const move =
          this.#moves[place.id]?.get(world) ?? (await this.#learn(world, index - 1, place))
        next.set(state)
        this.#apply(next, index, move)
        if (states.add(next)) pending.push(states.size - 1)
      }
    }
    return states.size
  }

  #place(number: number | undefined): Place {
    const place = this.#behaviour.places[number ?? -1]
    if (!place) throw new Error('no such place')
    return place
  }

  /** Many states look the same: each look is checked once. */
  #look(state: Uint32Array): void {
    let text = String(state[0])
    for (let index = 1; index < state.length; index++) text += this.#place(state[index]).look
    if (this.#checked.has(text)) return
    this.#checked.add(text)
    const places = [...state.subarray(1)].map((number) => this.#place(number))
    this.#check({
      objects: this.#worlds.objects(state[0] ?? 0),
      outcomes: places.map(({ outcome }) => outcome),
      told: places.map(({ told }) => told),
    })
  }

  async #learn(world: number, index: number, place: Place): Promise<Move> {
    const move = await this.#move(world, index, place)
    const moves = (this.#moves[place.id] ??= new Map<number, Move>())
    moves.set(world, move)
    return move
  }

  async #move(world: number, index: number, place: Place): Promise<Move> {
    const { operation } = place
    if (!operation) throw new Error('it has ended')
    const { verb, key } = operation
    if (verb === 'list' && !place.listing) {
      const listing = this.#worlds.listing(world, key)
      return { world, place: this.#behaviour.listing(place, listing).id }
    }
    const applied = place.listing
      ? { world, answer: answerOf(key, place.listing) }
      : this.#worlds.apply(world, operation)
    const next = await this.#behaviour.after(index, place, applied.answer)
    return { world: applied.world, place: next.id, ...(verb === 'delete' && { gone: key }) }
  }

  #apply(state: Uint32Array, index: number, { world, place, gone }: Move): void {
    state[0] = world
    state[index] = place
    if (gone === undefined) return
    for (let other = 1; other < state.length; other++) {
      if (other !== index) state[other] = this.#lacking(state[other] ?? 0, gone)
    }
  }

  /** A key that goes while a list runs need not be in it. */
  #lacking(number: number, gone: string): number {
    const place = this.#place(number)
    if (!place.listing) return number
    const text = `${number} ${gone}`
    const known = this.#without.get(text)
    if (known !== undefined) return known
    const left = place.listing.filter((line) => !line.startsWith(`${gone} `))
    const { id } = this.#behaviour.listing(place, left)
    this.#without.set(text, id)
    return id
  }
}

/** Of marks only that there is one makes a difference. */
function answerOf(prefix: string, listing: readonly string[]): string {
  if (!prefix.startsWith('.marks/')) return listing.join('\n')
  return listing.length > 0 ? `${prefix}any.json` : ''
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
  return await new Exploration(actors, check, options).run(objects)
}
