// What was asked of which server and how it was answered, name by name, so that a fault can be told
// with everything that led to it; and how late this process itself was.

const entriesPerName = 80
const faultsMost = 8
const lateLeastMs = 50

export class Journal {
  #beganAt = performance.now()
  #names = new Map()
  #faults = []
  #delays = []
  #timer

  constructor() {
    let dueAt = performance.now() + lateLeastMs
    this.#timer = setInterval(() => {
      const now = performance.now()
      if (now - dueAt > lateLeastMs) this.#delays.push({ at: now, lateMs: now - dueAt })
      dueAt = now + lateLeastMs
    }, lateLeastMs)
  }

  close() {
    clearInterval(this.#timer)
  }

  /** Something is asked of a server. Give what comes of it to the `end` of what this returns. */
  begin(name, what, life) {
    const entry = { what, where: life?.title ?? '-', beganAt: performance.now(), outcome: 'open' }
    const entries = this.#names.get(name) ?? []
    this.#names.set(name, entries)
    entries.push(entry)
    if (entries.length > entriesPerName) entries.shift()
    return {
      beganAt: entry.beganAt,
      end(outcome) {
        entry.outcome = outcome
        entry.endedAt = performance.now()
        return entry.endedAt
      },
    }
  }

  fault(name, text, life) {
    if (this.#faults.length < faultsMost) {
      const where = life ? ` on ${life.title}` : ''
      this.#faults.push([`${this.#time(performance.now())}${where}: ${text}`, ...this.#told(name)])
    }
  }

  get isClean() {
    return this.#faults.length === 0
  }

  /** Every fault with the requests that concern its name. */
  toString() {
    return this.#faults.map((lines) => lines.join('\n      ')).join('\n    ')
  }

  /** For how long this process did not come to its work in that time: no server is to blame for it. */
  lateMs(from, to) {
    return this.#delays
      .filter(({ at, lateMs }) => at > from && at - lateMs < to)
      .reduce((sum, { lateMs }) => sum + lateMs, 0)
  }

  #time(at) {
    return at === undefined ? '' : `${((at - this.#beganAt) / 1000).toFixed(3)} s`
  }

  #told(name) {
    return (this.#names.get(name) ?? []).map(
      ({ what, where, beganAt, endedAt, outcome }) =>
        `${this.#time(beganAt)} to ${this.#time(endedAt)} ${where} ${what}: ${outcome}`,
    )
  }
}
