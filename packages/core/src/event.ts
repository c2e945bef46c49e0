// What happens in the store, told to whoever listens: at once for what this process does, and as
// soon as a refresh shows it for what others do.

import type { OwnJob } from './claim.ts'
import { type Image, imageOfJob } from './image.ts'

export type StoreEvent =
  | { kind: 'image'; image: Image }
  | { kind: 'deleted'; name: string; version: string }

export type StoreListener = (event: StoreEvent) => void

/** Progress of one image is told at most so often. */
const progressIntervalMs = 1000

export class StoreEvents {
  readonly #listeners = new Set<StoreListener>()
  readonly #progressAtMs = new WeakMap<OwnJob, number>()

  /** Returns the function that ends the subscription. */
  subscribe(listener: StoreListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get isHeard(): boolean {
    return this.#listeners.size > 0
  }

  image(image: Image): void {
    this.#emit({ kind: 'image', image })
  }

  deleted(name: string, version: string): void {
    this.#emit({ kind: 'deleted', name, version })
  }

  /** How far own work is: at most once a second; made only when somebody listens. */
  progress(own: OwnJob): void {
    if (!this.isHeard) return
    const nowMs = performance.now()
    if (nowMs - (this.#progressAtMs.get(own) ?? -Infinity) < progressIntervalMs) return
    this.#progressAtMs.set(own, nowMs)
    this.#emit({ kind: 'image', image: imageOfJob(own.job()) })
  }

  #emit(event: StoreEvent): void {
    for (const listener of this.#listeners) listener(event)
  }
}
