// How many managers may sync one image from this server at a time: each pulls with as many requests as
// it likes, under one id that they carry as X-Sync-Id. Requests without it are nobody's business here.

import { type Image, ImageError } from '@backing-image/core'
import type { Call } from './front.ts'
import { ErrorWithHeaders, invalid } from './problem.ts'

/** Between two requests of one sync: it writes what it has, or its connection broke. */
const lingerMs = 30_000
/** When as many as may are in the middle of a request, nobody knows how long they will take. */
const retryAfterUsualMs = 5000

interface Sync {
  /** Requests under way. */
  requests: number
  /** When the last one ended. */
  endedAtMs: number
}

export class SyncSenders {
  readonly #syncsMax: number
  readonly #nowMs: () => number
  /** By the uuid of the image, then by the id of the sync. Only those that are active, or just were. */
  readonly #images = new Map<string, Map<string, Sync>>()
  #prunedAtMs = 0

  /** `nowMs` is a clock that never goes back. */
  constructor(syncsMax: number, nowMs: () => number = () => performance.now()) {
    this.#syncsMax = syncsMax
    this.#nowMs = nowMs
  }

  /** Images that are remembered: those of the last minute. */
  get size(): number {
    return this.#images.size
  }

  /**
   * Begins a request of sync `id` for the image `uuid`; to be told of its end by the function that it
   * returns. Throws `too_many_requests` where as many other syncs of that image are active as may be.
   */
  enter(uuid: string, id: string): () => void {
    const nowMs = this.#nowMs()
    this.#prune(nowMs)
    const syncs = this.#images.get(uuid) ?? new Map<string, Sync>()
    for (const [other, sync] of syncs) if (isOver(sync, nowMs)) syncs.delete(other)
    const sync = syncs.get(id) ?? { requests: 0, endedAtMs: nowMs }
    if (!syncs.has(id) && syncs.size >= this.#syncsMax) throw busy(this.#syncsMax, syncs, nowMs)
    this.#images.set(uuid, syncs.set(id, sync))
    sync.requests += 1
    let isUnderWay = true
    return () => {
      if (!isUnderWay) return
      isUnderWay = false
      sync.requests -= 1
      sync.endedAtMs = this.#nowMs()
    }
  }

  /** Forgets images that nobody syncs any more, now and then. */
  #prune(nowMs: number): void {
    if (nowMs - this.#prunedAtMs < lingerMs) return
    this.#prunedAtMs = nowMs
    for (const [uuid, syncs] of this.#images) {
      if ([...syncs.values()].every((sync) => isOver(sync, nowMs))) this.#images.delete(uuid)
    }
  }
}

function isOver({ requests, endedAtMs }: Sync, nowMs: number): boolean {
  return requests === 0 && nowMs - endedAtMs >= lingerMs
}

function busy(syncsMax: number, syncs: ReadonlyMap<string, Sync>, nowMs: number): ImageError {
  const idle = [...syncs.values()].filter(({ requests }) => requests === 0)
  const waitMs = idle.map(({ endedAtMs }) => endedAtMs + lingerMs - nowMs)
  const seconds = Math.max(1, Math.ceil(Math.min(...waitMs, retryAfterUsualMs) / 1000))
  return new ErrorWithHeaders(
    new ImageError(
      'resource_exhausted',
      `${syncsMax} managers sync this image already, as many as SYNC_SENDING_LIMIT allows; try again ` +
        'after the time in Retry-After.',
      { reason: 'too_many_requests' },
    ),
    { 'Retry-After': String(seconds) },
  )
}

/** Does the work of a request for an image, in its turn if it is one of a sync. */
export async function inSync(
  c: Call,
  senders: SyncSenders,
  { uuid }: Pick<Image, 'uuid'>,
  work: () => Promise<Response>,
): Promise<Response> {
  const id = c.req.header('x-sync-id')
  if (id === undefined) return await work()
  if (!/^[A-Za-z0-9._:-]{1,128}$/.test(id)) {
    const given = JSON.stringify(id.slice(0, 80))
    throw invalid(
      `X-Sync-Id is ${given}; 1 to 128 letters, digits, ".", "_", ":" and "-" are expected.`,
    )
  }
  const leave = senders.enter(uuid, id)
  try {
    return await work()
  } finally {
    leave()
  }
}
