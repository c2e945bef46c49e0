// What a store may hold after any number of uploads, rollbacks and deletes, of which some were
// answered and some were not: everything acknowledged, nothing invented, nothing back from a delete.

/** An upload or a rollback: it may bring the bytes with that digest under a version. */
class Arrival {
  /** Of a rollback the digest is that of whatever version `of` was. */
  constructor({ name, sha512, version, of }, beganAt) {
    Object.assign(this, { name, sha512, version, of, beganAt, endedAt: Infinity, isSure: false })
  }

  /** It was answered: the version is there. */
  acknowledge({ version, sha512 }, now) {
    if (this.isUnheard) return
    this.version = version
    this.sha512 = sha512
    this.isSure = true
    this.endedAt = now
  }

  /** It is over, and may have happened or not. */
  stop(now) {
    this.endedAt = Math.min(this.endedAt, now)
  }
}

/** A delete of one version, or of all of a name. */
class Removal {
  constructor(name, version, beganAt) {
    Object.assign(this, { name, version, beganAt, endedAt: Infinity, isSure: false })
  }

  acknowledge(now) {
    if (this.isUnheard) return
    this.isSure = true
    this.endedAt = now
  }

  stop(now) {
    this.endedAt = Math.min(this.endedAt, now)
  }

  covers(name, version) {
    return this.name === name && (this.version === undefined || this.version === version)
  }
}

export class Model {
  #arrivals = []
  #removals = []
  #isCut = false

  /** `version` is that which the client gave, or undefined. */
  beginUpload({ name, sha512, version }, now) {
    return this.#begin(this.#arrivals, new Arrival({ name, sha512, version }, now))
  }

  beginRollback(name, of, now) {
    return this.#begin(this.#arrivals, new Arrival({ name, of }, now))
  }

  beginRemoval(name, version, now) {
    return this.#begin(this.#removals, new Removal(name, version, now))
  }

  #begin(changes, change) {
    change.isUnheard = this.#isCut
    changes.push(change)
    return change
  }

  /** The process is dead: what was not answered never will be. */
  stopAll(now) {
    for (const each of [...this.#arrivals, ...this.#removals]) each.stop(now)
  }

  /** From now on the disk forgets what it is told: no answer means anything. */
  cut() {
    this.#isCut = true
    for (const each of [...this.#arrivals, ...this.#removals]) each.isUnheard = true
  }

  /** Whether a version was surely there all the time from `removal`'s begin to its end. */
  isSurelyThere(removal) {
    return this.#arrivals.some(
      (arrival) =>
        arrival.isSure &&
        arrival.endedAt <= removal.beganAt &&
        removal.covers(arrival.name, arrival.version) &&
        !this.#mayBeGone(arrival, removal),
    )
  }

  /** What is wrong with these ready versions, as sentences. `versions`: {name, version, sha512}. */
  faults(versions) {
    const faults = []
    for (const { name, version, sha512 } of versions) {
      const mayBe = this.#arrivals.some(
        (arrival) =>
          arrival.name === name &&
          (arrival.version ?? version) === version &&
          this.#mayBring(arrival, sha512) &&
          !this.#isSurelyGone(arrival, version),
      )
      if (!mayBe) faults.push(`${name} ${version} (${sha512.slice(0, 12)}) must not be there.`)
    }
    const there = new Set(versions.map((each) => `${each.name} ${each.version} ${each.sha512}`))
    for (const arrival of this.#arrivals) {
      if (!arrival.isSure || this.#mayBeGone(arrival)) continue
      const { name, version, sha512 } = arrival
      if (there.has(`${name} ${version} ${sha512}`)) continue
      faults.push(`${name} ${version} (${sha512.slice(0, 12)}) was acknowledged and is lost.`)
    }
    return faults
  }

  /** Nothing is under way: what is there now is what counts from now on. */
  settle(versions, now) {
    this.#isCut = false
    this.#removals = []
    this.#arrivals = versions.map(({ name, version, sha512 }) => {
      const arrival = new Arrival({ name }, now)
      arrival.acknowledge({ version, sha512 }, now)
      return arrival
    })
  }

  #mayBring(arrival, sha512) {
    if (arrival.sha512 !== undefined) return arrival.sha512 === sha512
    return this.#arrivals.some(
      (other) =>
        other.name === arrival.name &&
        other.sha512 === sha512 &&
        (other.version ?? arrival.of) === arrival.of,
    )
  }

  /** A delete that began after the arrival's end was acknowledged. */
  #isSurelyGone(arrival, version) {
    return this.#removals.some(
      (removal) =>
        removal.isSure &&
        removal.covers(arrival.name, version) &&
        removal.beganAt >= arrival.endedAt,
    )
  }

  /** A delete, acknowledged or not, did not end before the arrival began. */
  #mayBeGone(arrival, except) {
    return this.#removals.some(
      (removal) =>
        removal !== except &&
        removal.covers(arrival.name, arrival.version) &&
        removal.endedAt > arrival.beganAt,
    )
  }
}
