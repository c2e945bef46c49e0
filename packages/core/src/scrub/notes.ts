// Notes of which there may be very many: the first hundred are told one by one, the others counted.

import type { Finding } from './finding.ts'

const toldMax = 100

export class Notes {
  readonly #step: string
  readonly #more: (count: number) => string
  #count = 0

  /** `more` says in a sentence how many were not told one by one. */
  constructor(step: string, more: (count: number) => string) {
    this.#step = step
    this.#more = more
  }

  *add(note: Omit<Finding, 'step' | 'level'>): Generator<Finding> {
    this.#count += 1
    if (this.#count <= toldMax) yield { step: this.#step, level: 'note', ...note }
  }

  /** To be called at the end. */
  *rest(): Generator<Finding> {
    const count = this.#count - toldMax
    if (count > 0) yield { step: this.#step, level: 'note', what: this.#more(count) }
  }
}
