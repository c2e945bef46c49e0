// The ports on which receivers wait. One that is given back comes last in the queue: a late sender of
// the copy before would otherwise find another file behind it.

import { ImageError } from '@backing-image/core'
import type { PortRange } from '../address.ts'

export class Ports {
  readonly #range: PortRange
  readonly #free: number[]

  constructor(range: PortRange) {
    this.#range = range
    const count = range.last - range.first + 1
    this.#free = Array.from({ length: count }, (_, index) => range.first + index)
  }

  /**
   * A port, and the one call that gives it back; later calls do nothing. Throws `resource_exhausted`
   * when all are taken.
   */
  take(): { port: number; release: () => void } {
    const port = this.#free.shift()
    if (port === undefined) {
      const { first, last } = this.#range
      const text = `All ports from ${first} to ${last} are taken by copies that go on.`
      throw new ImageError(
        'resource_exhausted',
        `${text} Try again, or give a larger --port-range.`,
      )
    }
    let isTaken = true
    const release = () => {
      if (isTaken) this.#free.push(port)
      isTaken = false
    }
    return { port, release }
  }
}
