// What happens on one server is told by the events of every other within 5 s: noted when it happens,
// and judged a while later.

import { promisedAgeMs } from './looks.js'

/** What has not been told by then never will be. */
const patienceMs = 30_000

export class News {
  #fleet
  #model
  #journal
  #expected = []
  /** How late the latest was. */
  latestMs = 0
  told = 0

  constructor({ fleet, model, journal }) {
    this.#fleet = fleet
    this.#model = model
    this.#journal = journal
  }

  /** A version was published by `life`, and all others must tell of it. */
  arrived({ name, version, sha512, beganAt, endedAt }, life) {
    const change = { name, version, beganAt, endedAt, sha512 }
    const isMeant = (event) => event.state === 'ready' && event.version === version
    this.#expect(change, life, `${version} is ready`, isMeant)
  }

  /** A version was deleted by `life`. Of the delete of a whole name it is not known what went. */
  removed({ name, version, beganAt, endedAt }, life) {
    if (version === undefined) return
    const change = { name, version, beganAt, endedAt, isRemoval: true }
    const isMeant = (event) => event.kind === 'deleted' && event.version === version
    this.#expect(change, life, `${version} is deleted`, isMeant)
  }

  #expect(change, life, what, isMeant) {
    for (const other of this.#fleet.lives()) {
      // Who began to listen meanwhile may have begun behind it.
      if (other === life || other.feed.openedAt > change.beganAt) continue
      this.#expected.push({ change, other, what, isMeant })
    }
  }

  /** Judges what is due; at the end of everything all. */
  judge(isEnd = false) {
    const now = performance.now()
    const isDue = ({ change }) => isEnd || now > change.endedAt + patienceMs
    const due = this.#expected.filter(isDue)
    this.#expected = this.#expected.filter((each) => !isDue(each))
    for (const each of due) this.#judge(each)
  }

  #judge({ change, other, what, isMeant }) {
    const { name, beganAt, endedAt } = change
    const at = other.feed.firstAt(name, beganAt, isMeant)
    const lateMs = at === undefined ? Infinity : at - endedAt
    // A look at the store that began just before the change is followed by one that shows it: where
    // looks take long, two of them.
    const slackMs = this.#journal.lateMs(endedAt, at ?? Infinity) + 2 * other.slowestLookMs
    if (this.#isExcused(change, other)) return
    if (at !== undefined) {
      this.told += 1
      this.latestMs = Math.max(this.latestMs, lateMs)
    }
    if (lateMs <= promisedAgeMs + slackMs) return
    const how = at === undefined ? 'never told' : `told after ${lateMs.toFixed()} ms`
    const allowed = `${promisedAgeMs} + ${slackMs.toFixed()}`
    this.#journal.fault(name, `That ${name} ${what} was ${how} (allowed: ${allowed}).`, other)
  }

  /** Who looks every few seconds does not see what has been undone by then. */
  #isExcused(change, other) {
    const dueAt = change.endedAt + promisedAgeMs
    if (other.feed.closedAt < dueAt + promisedAgeMs) return true
    if (!change.isRemoval) return this.#model.mayBeDeleted(change, dueAt + promisedAgeMs)
    // Who was told nothing of it, or that it is gone, need not be told; and it may have come back.
    const isOfVersion = (event) => event.version === change.version
    const before = other.feed.last(change.name, change.beganAt, isOfVersion)
    const isBack = (event) => isOfVersion(event) && event.state === 'ready'
    const backAt = other.feed.firstAt(change.name, change.beganAt, isBack)
    return before?.state !== 'ready' || backAt !== undefined
  }
}
