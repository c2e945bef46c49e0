// What changes a store, as the model of it knows it (./model.js): each takes effect at some moment
// between its begin and its end.

/** Labels that are given to those who choose none. */
export const countPattern = /^[1-9][0-9]{0,14}$/

/** An upload, a rollback or a pull: it may bring the bytes with that digest under a version. */
export class Arrival {
  /** Of a rollback the digest is that of whatever version `of` was. */
  constructor({ name, sha512, version, of, isPull = false }, beganAt) {
    Object.assign(this, { name, sha512, version, of, isPull, beganAt })
    Object.assign(this, { endedAt: Infinity, isSure: false })
    this.isGiven = version !== undefined
  }

  /** It was answered: the version is there. `created`: by this very request. */
  acknowledge({ version, sha512, created = true }, now) {
    if (this.isUnheard) return
    Object.assign(this, { version, sha512, created, isSure: true, endedAt: now })
  }

  /**
   * A pull was taken on: from now on there is something that a delete meets. It may yet come under a
   * later label than this one, unless the version was given.
   */
  accept({ uuid, label }, now) {
    if (this.isUnheard) return
    Object.assign(this, { uuid, label, acceptedAt: now })
  }

  /** From when on a delete can not miss it. */
  get reachableAt() {
    return Math.min(this.acceptedAt ?? Infinity, this.endedAt)
  }

  /** Whether it was a job at that moment, or a version already. */
  isWorkAt(at) {
    return this.acceptedAt <= at && this.endedAt > at
  }

  /** It was answered that the version is not there by this request, and will not be. */
  refuse(now) {
    if (this.isUnheard) return
    Object.assign(this, { isRefused: true, endedAt: now })
  }

  /** It is over, and may have happened or not. */
  stop(now) {
    this.endedAt = Math.min(this.endedAt, now)
  }
}

/** A delete of one version, or of all of a name. */
export class Removal {
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

  /** Whether it may touch what comes, or came, by an arrival. */
  mayMeet({ version, label }) {
    if (this.version === undefined) return true
    if (version !== undefined) return this.version === version
    if (label === undefined) return true
    // A pull comes under the label that it was promised, or a later one.
    return countPattern.test(this.version) && Number(this.version) >= Number(label)
  }

  /** Whether it must touch what there is of an arrival, which is seen under that version. */
  mustMeet({ isGiven, version, endedAt }, seen = version) {
    const isKnown = isGiven || endedAt <= this.beganAt
    return this.version === undefined || (isKnown && this.version === seen)
  }
}
