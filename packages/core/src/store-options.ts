// How a store is opened.

import type { PullOptions } from './pull/pulls.ts'
import type { Failpoint } from './publish.ts'
import type { ScrubOptions } from './scrub/scrubs.ts'

export interface StoreOptions {
  /** Called at each named step of the protocols; tests pause or fail there. */
  at?: Failpoint
  /** Told of what went wrong where nobody waits for it. */
  onProblem?: (error: Error) => void
  /** Where the store may go by itself for images; absent: nowhere. */
  pulls?: PullOptions
  /** How the store is scrubbed; unless given, when somebody asks. */
  scrub?: ScrubOptions
}

export const noPulls: PullOptions = { sources: {}, atOnce: 1, sizeMax: 0 }
