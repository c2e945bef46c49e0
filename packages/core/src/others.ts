// The work of other processes, told to who listens here: what has begun, how far it is, what became of it.

import type { StoreEvents } from './event.ts'
import { type Image, imageOfJob } from './image.ts'
import type { Lookup } from './lookup.ts'

export class OthersWork {
  readonly #lookup: Lookup
  readonly #events: StoreEvents
  /** As it was last told, by uuid. */
  #told: Map<string, Image> | undefined

  constructor(lookup: Lookup, events: StoreEvents) {
    this.#lookup = lookup
    this.#events = events
  }

  /** Tells what has changed since the last call. */
  async tell(): Promise<void> {
    if (!this.#events.isHeard) {
      this.#told = undefined
      return
    }
    const told = new Map<string, Image>()
    for (const job of await this.#lookup.jobs()) {
      if (job.mine) continue
      const image = imageOfJob(job)
      const before = this.#told?.get(job.uuid)
      told.set(job.uuid, image)
      // What had failed before anybody listened is no change.
      if (!this.#told && job.end) continue
      if (before?.state !== image.state || before.processedSize !== image.processedSize) {
        this.#events.image(image)
      }
    }
    const gone = [...(this.#told?.values() ?? [])].filter((image) => !told.has(image.uuid))
    this.#told = told
    for (const image of gone) await this.#lookup.tellOutcome(this.#events, image)
  }
}
