// Faults on demand: which requests, and what happens to them instead of what they ask for.

import type { Operation, Seen } from './request.ts'

/** What happens to a request. `before` and `after` are the work that it asks for. */
export type Fault =
  /** An error, and nothing is done; `isEarly` answers before the body has come. */
  | { kind: 'refuse'; status: number; code: string; isEarly?: boolean }
  /** It is done, and the answer is an error all the same. */
  | { kind: 'deny'; status: number; code: string }
  /** It is done, and the connection is cut without an answer. */
  | { kind: 'lose' }
  /** The connection is cut when so much of the request's body has come; nothing is done. */
  | { kind: 'cut request'; afterBytes: number }
  /** The connection is cut when so much of the answer's body has gone. */
  | { kind: 'cut answer'; afterBytes: number }
  /** No byte comes any more when so much of the answer's body has gone. */
  | { kind: 'hang answer'; afterBytes: number }
  /** No answer until the rule is lifted, which then goes on, or until the client leaves. */
  | { kind: 'stall'; when: 'before' | 'after' }
  /** Both bodies take their time. */
  | { kind: 'slow'; bytesPerSecond: number }
  /** As a server that does not know conditions: it writes, and reads, whatever is there. */
  | { kind: 'ignore condition' }
  /** As a racy server: the condition is checked when the head has come, and never again. */
  | { kind: 'early condition' }
  /** Status 200, and an error in the body. */
  | { kind: 'error in 200'; code: string; when: 'before' | 'after' }
  /** The answer's Content-Length is wrong; what is announced too much does not come. */
  | { kind: 'wrong length'; byBytes: number }

/** Which requests. What is left out matches all. */
export interface Matcher {
  operation?: Operation | Operation[]
  key?: string | RegExp
  when?: (seen: Seen) => boolean
  /** Only from the n-th that matches on, counted from 1. */
  from?: number
  /** At most so many; one when only `from` is given, else all. */
  times?: number
}

/** A fault that is in force. */
export class Rule {
  readonly fault: Fault
  /** How many requests it has met. */
  hits = 0
  /** How many requests matched, with those before `from`. */
  matches = 0
  readonly lifted: Promise<void>
  /** Resolves when it meets its first request. */
  readonly met: Promise<void>
  /** Whether it is in force no more. */
  isLifted = false
  #lift: () => void = () => undefined
  #meet: () => void = () => undefined
  readonly #matcher: Matcher

  constructor(matcher: Matcher, fault: Fault) {
    this.#matcher = matcher
    this.fault = fault
    this.lifted = new Promise((resolve) => {
      this.#lift = resolve
    })
    this.met = new Promise((resolve) => {
      this.#meet = resolve
    })
  }

  /** It meets no request any more, and what it has stalled goes on. */
  lift(): void {
    this.isLifted = true
    this.#lift()
  }

  /** Counts the request; true when it is to be met. */
  meets(seen: Seen): boolean {
    const { operation, key, when, from = 1 } = this.#matcher
    const times = this.#matcher.times ?? (this.#matcher.from === undefined ? Infinity : 1)
    if (this.isLifted) return false
    if (operation !== undefined && ![operation].flat().includes(seen.operation)) return false
    if (typeof key === 'string' && key !== seen.key) return false
    if (key instanceof RegExp && !key.test(seen.key)) return false
    if (when && !when(seen)) return false
    this.matches += 1
    if (this.matches < from || this.hits >= times) return false
    this.hits += 1
    this.#meet()
    return true
  }
}
