// What a store may hold after any number of uploads, rollbacks and deletes, of which some were
// answered and some were not: everything acknowledged, nothing invented, nothing back from a delete.
//
// Answers race, and so the model does not know one truth but what may be: each change took effect at
// some moment between its begin and its end. What a *look* shows is wrong only when no choice of such
// moments explains it. A look is {beganAt, endedAt, ageMs?}: what it shows was so at some moment from
// `beganAt - ageMs` to `endedAt`.

import { Arrival, Removal, countPattern } from './changes.js'

/** A look at a store on which nothing is under way. */
const atRest = { beganAt: Infinity, endedAt: Infinity }
const nothing = { arrivals: [], removals: [] }

export class Model {
  /** By name: its arrivals and removals, in the order in which they began. */
  #names = new Map()
  #isCut = false

  /** `version` is that which the client gave, or undefined. */
  beginUpload({ name, sha512, version }, now) {
    return this.#begin('arrivals', new Arrival({ name, sha512, version }, now))
  }

  /** It stays open, whatever becomes of servers, until a look shows how it ended (./pulls.js). */
  beginPull({ name, sha512, version }, now) {
    return this.#begin('arrivals', new Arrival({ name, sha512, version, isPull: true }, now))
  }

  beginRollback(name, of, now) {
    return this.#begin('arrivals', new Arrival({ name, of }, now))
  }

  beginRemoval(name, version, now) {
    return this.#begin('removals', new Removal(name, version, now))
  }

  #begin(kind, change) {
    change.isUnheard = this.#isCut
    if (!this.#names.has(change.name)) {
      this.#names.set(change.name, { arrivals: [], removals: [] })
    }
    this.#of(change.name)[kind].push(change)
    return change
  }

  #of(name) {
    return this.#names.get(name) ?? nothing
  }

  #changes() {
    return [...this.#names.values()].flatMap(({ arrivals, removals }) => [...arrivals, ...removals])
  }

  /** The process is dead: what was not answered never will be. But pulls are gone on with. */
  stopAll(now) {
    for (const each of this.#changes()) if (!each.isPull) each.stop(now)
  }

  /** From now on the disk forgets what it is told: no answer means anything. */
  cut() {
    this.#isCut = true
    for (const each of this.#changes()) each.isUnheard = true
  }

  /** Names of which anything was ever begun. */
  names() {
    return [...this.#names.keys()]
  }

  /** Labels of a name that were acknowledged or given, be they there or not. */
  labels(name) {
    const labels = this.#of(name).arrivals.map((arrival) => arrival.version ?? arrival.label)
    return [...new Set(labels)].filter((version) => version !== undefined)
  }

  /** Whether a version, or work on it, was surely there all the time from `removal`'s begin to its end. */
  isSurelyThere(removal) {
    return this.#of(removal.name).arrivals.some(
      (arrival) =>
        ((arrival.isSure && arrival.endedAt <= removal.beganAt) ||
          arrival.isWorkAt(removal.beganAt)) &&
        removal.mustMeet(arrival) &&
        !this.#mayBeGone(arrival, removal),
    )
  }

  /** Whether a delete that was over before a look must have taken this pull away. */
  isSurelyDeleted(arrival, look) {
    return this.#isSurelyGone(arrival, arrival.version, look.beganAt)
  }

  /** What is wrong with these ready versions, as sentences. `versions`: {name, version, sha512}. */
  faults(versions) {
    const faults = versions.map((image) => this.faultOfSeen(image, atRest)).filter(Boolean)
    for (const name of this.#names.keys()) {
      const seen = versions.filter((image) => image.name === name)
      faults.push(...this.faultsOfMissing(name, seen, atRest))
    }
    return faults
  }

  /** Why a look can not have seen this version ready; undefined when it can. */
  faultOfSeen({ name, version, sha512 }, look) {
    const since = look.beganAt - (look.ageMs ?? 0)
    const mayBe = this.#bringers({ name, version, sha512 }).some(
      (arrival) =>
        arrival.beganAt <= look.endedAt &&
        !(arrival.isRefused && arrival.endedAt <= since) &&
        !this.#isSurelyGone(arrival, version, since),
    )
    if (mayBe) return undefined
    return `${name} ${version} (${sha512.slice(0, 12)}) must not be there.`
  }

  /** What a look must have seen of a name, and has not. With a version asked, only of that one. */
  faultsOfMissing(name, seen, look, version) {
    const since = look.beganAt - (look.ageMs ?? 0)
    return this.#surelyThere(name, look, since)
      .filter((arrival) => version === undefined || arrival.version === version)
      .filter((arrival) => !seen.some((image) => isOf(image, arrival)))
      .map(({ version: label, sha512 }) => {
        return `${name} ${label} (${sha512.slice(0, 12)}) was acknowledged and is lost.`
      })
  }

  /** Why nothing ready of a name can not be what a look found; undefined when it can. */
  faultOfNone(name, look, version) {
    const [fault] = this.faultsOfMissing(name, [], look, version)
    return fault
  }

  /** Why this can not be the newest version that a look found; undefined when it can. */
  faultOfNewest(image, look) {
    const since = look.beganAt - (look.ageMs ?? 0)
    const bringers = this.#bringers(image)
    if (bringers.some((arrival) => !arrival.isSure && !arrival.isRefused)) return undefined
    const lastAt = Math.max(...bringers.map((arrival) => arrival.endedAt))
    const newer = this.#surelyThere(image.name, look, since).find(
      (arrival) => arrival.created && arrival.beganAt >= lastAt,
    )
    if (newer === undefined) return undefined
    return `${image.name} ${image.version} is not the newest: ${newer.version} came later.`
  }

  /** Whether a delete may have met this change, or anything of its name since it began. */
  mayBeDeleted(change, untilAt = Infinity) {
    const { name, beganAt } = change
    return this.#of(name).removals.some(
      (removal) =>
        removal.mayMeet(change) && removal.endedAt > beganAt && removal.beganAt < untilAt,
    )
  }

  /** Whether another upload may have put other bytes under the version that was given. */
  mayConflict(arrival) {
    return this.mayBeTaken(arrival, (other) => other.sha512 !== arrival.sha512)
  }

  /** Whether another arrival may have brought something under that version, or label. */
  mayBeTaken(arrival, isMeant = () => true) {
    const { name, beganAt, endedAt } = arrival
    const version = arrival.version ?? arrival.label
    return this.#of(name).arrivals.some(
      (other) =>
        other !== arrival &&
        (other.version ?? version) === version &&
        isMeant(other) &&
        other.beganAt < endedAt &&
        !(other.isRefused && other.endedAt <= beganAt) &&
        !this.#isSurelyGone(other, version, beganAt),
    )
  }

  /** What is wrong with an acknowledged arrival beside the others that were, as sentences. */
  faultsOfAnswer(arrival) {
    if (!arrival.created) return []
    const { name, version } = arrival
    const faults = []
    for (const other of this.#of(name).arrivals) {
      if (other === arrival || !other.isSure || !other.created) continue
      if (other.version === version && !this.#mayBeDeletedBetween(arrival, other)) {
        faults.push(`${name} ${version} was created twice.`)
      }
      const isBefore = other.endedAt <= arrival.beganAt
      const counts = [arrival, other].every((each) => countPattern.test(each.version))
      if (arrival.isGiven || !isBefore || !counts || this.#mayBeGone(other)) continue
      if (Number(other.version) < Number(version)) continue
      faults.push(`${name} got the label ${version} after ${other.version}.`)
    }
    return faults
  }

  /** Nothing but pulls is under way: these, and what is there now, are what counts from now on. */
  settle(versions, now) {
    const pulls = this.#changes().filter((each) => each.isPull && each.endedAt === Infinity)
    this.#isCut = false
    this.#names.clear()
    for (const pull of pulls) this.#begin('arrivals', pull)
    for (const { name, version, sha512 } of versions) {
      this.beginUpload({ name, sha512 }, now).acknowledge({ version, sha512 }, now)
    }
  }

  /** What is there for the whole of a look, and was before it began. */
  #surelyThere(name, look, since) {
    return this.#of(name).arrivals.filter(
      (arrival) =>
        arrival.isSure &&
        arrival.endedAt <= since &&
        !this.#mayBeGone(arrival, undefined, look.endedAt),
    )
  }

  /** Arrivals that may have brought this. */
  #bringers({ name, version, sha512 }) {
    return this.#of(name).arrivals.filter(
      (arrival) => (arrival.version ?? version) === version && this.#mayBring(arrival, sha512),
    )
  }

  #mayBring(arrival, sha512) {
    if (arrival.sha512 !== undefined) return arrival.sha512 === sha512
    return this.#of(arrival.name).arrivals.some(
      (other) => other.sha512 === sha512 && (other.version ?? arrival.of) === arrival.of,
    )
  }

  /** A delete that began after the arrival's end was acknowledged before `since`. */
  #isSurelyGone(arrival, version, since) {
    return this.#of(arrival.name).removals.some(
      (removal) =>
        removal.isSure &&
        removal.mustMeet(arrival, version) &&
        removal.beganAt >= arrival.reachableAt &&
        removal.endedAt <= since,
    )
  }

  /** A delete, acknowledged or not, did not end before the arrival began. */
  #mayBeGone(arrival, except, untilAt = Infinity) {
    return this.#of(arrival.name).removals.some(
      (removal) =>
        removal !== except &&
        removal.mayMeet(arrival) &&
        removal.endedAt > arrival.beganAt &&
        removal.beganAt < untilAt,
    )
  }

  #mayBeDeletedBetween(one, other) {
    const from = { ...one, beganAt: Math.min(one.beganAt, other.beganAt) }
    return this.mayBeDeleted(from, Math.max(one.endedAt, other.endedAt))
  }
}

function isOf(image, { version, sha512 }) {
  return image.version === version && image.sha512 === sha512
}
