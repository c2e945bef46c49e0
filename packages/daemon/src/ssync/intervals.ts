// Which parts of a file something is true of: for what has come of a file whose parts come in any order.

import { ImageError } from '@backing-image/core'

/** From `begin` up to, and without, `end`; in bytes. */
export interface Interval {
  begin: number
  end: number
}

/** A sender works at a few places at a time; who leaves more gaps than this is none. */
const usualPartsMax = 10_000

/** Parts of a file; those that touch are one. */
export class Intervals {
  /** In order, none empty, none touching the next. */
  readonly #parts: Interval[] = []
  readonly #partsMax: number

  constructor(partsMax: number = usualPartsMax) {
    this.#partsMax = partsMax
  }

  /** Throws `resource_exhausted` where there would be too many parts; then nothing has changed. */
  add({ begin, end }: Interval): void {
    if (begin >= end) return
    const first = this.#firstEndingAt(begin)
    let last = first
    const merged = { begin, end }
    for (; ; last += 1) {
      const part = this.#parts[last]
      if (!part || part.begin > end) break
      merged.begin = Math.min(merged.begin, part.begin)
      merged.end = Math.max(merged.end, part.end)
    }
    if (last === first && this.#parts.length >= this.#partsMax) {
      throw new ImageError(
        'resource_exhausted',
        `More than ${this.#partsMax} separate parts are too many. Send the file in its order.`,
      )
    }
    this.#parts.splice(first, last - first, merged)
  }

  /** Forgets what is before a place. */
  forgetUntil(position: number): void {
    const first = this.#firstEndingAt(position + 1)
    this.#parts.splice(0, first)
  }

  covers({ begin, end }: Interval): boolean {
    return begin >= end || this.endAt(begin) >= end
  }

  /** The end of the part that a place is in; the place itself where it is in none. */
  endAt(position: number): number {
    const part = this.#parts[this.#firstEndingAt(position + 1)]
    return part && part.begin <= position ? part.end : position
  }

  /** Where the first part begins that has anything at a place or after it. */
  nextFrom(position: number): number {
    const part = this.#parts[this.#firstEndingAt(position + 1)]
    return part ? Math.max(part.begin, position) : Infinity
  }

  /** What of `interval` is in. May change meanwhile: what is before the last one given does not count. */
  *within({ begin, end }: Interval): Generator<Interval, void, undefined> {
    for (let position = this.nextFrom(begin); position < end;) {
      const partEnd = Math.min(this.endAt(position), end)
      yield { begin: position, end: partEnd }
      position = this.nextFrom(partEnd)
    }
  }

  /** What of `interval` is not in; as above. */
  *gaps({ begin, end }: Interval): Generator<Interval, void, undefined> {
    for (let position = this.endAt(begin); position < end;) {
      const gapEnd = Math.min(this.nextFrom(position), end)
      yield { begin: position, end: gapEnd }
      position = this.endAt(gapEnd)
    }
  }

  /** The index of the first part that ends at a place or after it. */
  #firstEndingAt(position: number): number {
    let low = 0
    let high = this.#parts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#parts[middle]?.end ?? Infinity) < position) low = middle + 1
      else high = middle
    }
    return low
  }
}
