// What is known of one piece of work in flight: its claim, beat and outcome, as they are stored,
// and the work that this process owns.

import type { ImageError, Reason } from './errors.ts'
import type { Description } from './record.ts'

/** What epoch 1 says of the work; a take-over repeats it under the next epoch. Never rewritten. */
export interface Claim {
  layout: number
  name: string
  uuid: string
  epoch: number
  /** The process, as the backend's Owners names it; else a random text that proves nothing. */
  owner: string
  /** Chosen at accept; where the client gave none, publishing may take a later one. */
  version: string
  versionGiven: boolean
  /** Bytes to come, when known. */
  size?: number
  description: Description
  /** The key of corrupt bytes that the work is to replace: it makes no image. */
  heals?: string
  createdAt: string
}

export type WorkState = 'pending' | 'starting' | 'in-progress'

/** Written by the owner of an epoch every few seconds, under the next counter. */
export interface Beat {
  count: number
  state: WorkState
  processedSize: number
  /** Bytes to come in all, once the source has told. */
  size?: number
  /** What a successor can go on from: bytes from the beginning that are durable, and of which edition. */
  durableSize?: number
  /** Which unfinished put that is, on a store that may take another's for it. */
  unfinished?: string
  validator?: string
  /** What the source is at, before bytes come: a sentence for people. */
  note?: string
  /** The owner has let go of the work on purpose: nobody has to wait for the end of its lease. */
  released?: boolean
  at: string
}

/** The outcome of work that failed; work that succeeded leaves its record instead. */
export interface End {
  reason: Reason
  message: string
  expected?: string
  actual?: string
  endedAt: string
}

export interface Job {
  name: string
  uuid: string
  claim: Claim
  /** The highest one, which owns the work. */
  epoch: number
  beat: Beat
  end?: End
  /** When the outcome was written, by the store's clock. */
  endedAtNs?: bigint
  cancelled: boolean
  /** Whether this process owns it. */
  mine: boolean
}

/** Work that this process owns. */
export class OwnJob {
  readonly claim: Claim
  readonly #controller = new AbortController()
  state: WorkState = 'starting'
  processedSize = 0
  /** See Beat. */
  size: number | undefined
  durableSize = 0
  #unfinished: string | undefined
  validator: string | undefined
  /** See Beat. */
  note: string | undefined
  released = false
  /** Why the work must stop; undefined while it may go on. */
  stopped: 'deleted' | 'lost' | 'stopping' | undefined
  /** Whether the storage was given all bytes: from then on they may be there, whatever it says. */
  bytesGiven = false
  count = 0
  /** When the last beat succeeded, by this process's monotonic clock. */
  beatAtMs: number = performance.now()

  constructor(claim: Claim, state: WorkState = 'starting') {
    this.claim = claim
    this.state = state
  }

  /** Aborts when the work is cancelled, or its lease may be lost. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  stop(reason: ImageError, why: 'deleted' | 'lost' | 'stopping' = 'lost'): void {
    this.stopped ??= why
    this.#controller.abort(reason)
  }

  /** So many bytes from the beginning are durable; 0 begins anew. See PutOptions. */
  isDurable(bytes: number, unfinished?: string): void {
    this.durableSize = bytes
    this.#unfinished = unfinished
  }

  beat(): Beat {
    return {
      count: this.count,
      state: this.state,
      processedSize: this.processedSize,
      ...(this.size !== undefined && { size: this.size }),
      ...(this.durableSize > 0 && { durableSize: this.durableSize }),
      ...(this.#unfinished !== undefined && { unfinished: this.#unfinished }),
      ...(this.validator !== undefined && { validator: this.validator }),
      ...(this.note !== undefined && { note: this.note }),
      ...(this.released && { released: true }),
      at: new Date().toISOString(),
    }
  }

  job(): Job {
    const { name, uuid, epoch } = this.claim
    return { name, uuid, epoch, claim: this.claim, beat: this.beat(), cancelled: false, mine: true }
  }
}

/** What to claim. */
export interface NewJob {
  name: string
  version: string
  versionGiven: boolean
  size?: number
  description: Description
  /** See Claim. */
  heals?: string
}
