// A set of very many states, each a few numbers: millions must fit into memory, and none be taken for
// another.

const roomAtFirst = 1024

export class StateSet {
  readonly #width: number
  #numbers: Uint32Array
  /** Open addressing: one more than the index of a state; 0 is free. */
  #slots: Uint32Array
  size = 0

  /** Of states of `width` numbers. */
  constructor(width: number) {
    this.#width = width
    this.#numbers = new Uint32Array(roomAtFirst * width)
    this.#slots = new Uint32Array(roomAtFirst * 2)
  }

  /** Whether the state was new; then it is the last one. */
  add(state: Uint32Array): boolean {
    const slot = this.#slotOf(state, this.#slots)
    if (this.#slots[slot] !== 0) return false
    if ((this.size + 1) * 2 > this.#slots.length) {
      this.#grow()
      return this.add(state)
    }
    this.#numbers.set(state, this.size * this.#width)
    this.size += 1
    this.#slots[slot] = this.size
    return true
  }

  read(index: number, into: Uint32Array): void {
    const start = index * this.#width
    for (let at = 0; at < this.#width; at++) into[at] = this.#numbers[start + at] ?? 0
  }

  /** Where the state is, or where it would be. */
  #slotOf(state: Uint32Array, slots: Uint32Array): number {
    let hash = 0
    for (let at = 0; at < this.#width; at++) {
      hash = Math.imul(hash ^ (state[at] ?? 0), 0x9e3779b1) ^ (hash >>> 15)
    }
    const mask = slots.length - 1
    let slot = (hash ^ (hash >>> 13)) & mask
    for (let taken = slots[slot]; taken; taken = slots[slot]) {
      if (this.#isAt(taken - 1, state)) return slot
      slot = (slot + 1) & mask
    }
    return slot
  }

  #isAt(index: number, state: Uint32Array): boolean {
    const start = index * this.#width
    for (let at = 0; at < this.#width; at++) {
      if (this.#numbers[start + at] !== state[at]) return false
    }
    return true
  }

  #grow(): void {
    const numbers = new Uint32Array(this.#numbers.length * 2)
    numbers.set(this.#numbers)
    this.#numbers = numbers
    const slots = new Uint32Array(this.#slots.length * 2)
    const state = new Uint32Array(this.#width)
    for (let index = 0; index < this.size; index++) {
      this.read(index, state)
      slots[this.#slotOf(state, slots)] = index + 1
    }
    this.#slots = slots
  }
}
