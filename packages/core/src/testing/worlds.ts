// The store as an exploration sees it: few different contents, each known by a number.

import { type Operation, absent, exists } from './script.ts'

/** The states of the store, by number, and what each operation makes of them. */
export class Worlds {
  readonly #numbers = new Map<string, number>()
  readonly #worlds: ReadonlyMap<string, string>[] = []
  readonly #texts = new Map<string, number>()

  number(objects: ReadonlyMap<string, string>): number {
    const parts = [...objects].map(([key, content]) => this.tag(`${key} ${content}`))
    const text = parts.toSorted().join()
    const known = this.#numbers.get(text)
    if (known !== undefined) return known
    const number = this.#worlds.push(objects) - 1
    this.#numbers.set(text, number)
    return number
  }

  objects(world: number): ReadonlyMap<string, string> {
    return this.#worlds[world] ?? new Map<string, string>()
  }

  /** A short text for a long one. */
  tag(text: string): string {
    const known = this.#texts.get(text) ?? this.#texts.size
    this.#texts.set(text, known)
    return String(known)
  }

  apply(world: number, operation: Operation): { answer: string; world: number } {
    const objects = new Map(this.objects(world))
    const { key, verb } = operation
    const content = objects.get(key)
    if (verb === 'get' || verb === 'stat') return { answer: content ?? absent, world }
    if (verb === 'put') {
      if (operation.ifAbsent && content !== undefined) return { answer: exists, world }
      objects.set(key, operation.content)
    }
    if (verb === 'delete') objects.delete(key)
    return { answer: verb, world: this.number(objects) }
  }

  /** What a list that begins now has to show at most: a line for each key. */
  listing(world: number, prefix: string): string[] {
    const found = [...this.objects(world)].filter(([key]) => key.startsWith(prefix))
    return found.map(([key, content]) => `${key} ${this.tag(content)}`).toSorted()
  }
}
