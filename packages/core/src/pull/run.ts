// The work of one pull, from its turn in the queue to bytes that are stored and checked: attempt after
// attempt, each going on from where the last one came to, in this process or in another.

import { setTimeout as delay } from 'node:timers/promises'
import { type Bytes, type Remains, hasResumable } from '../backend.ts'
import type { Digests } from '../checksum.ts'
import type { OwnJob } from '../claim.ts'
import { ImageError, asError, isImageError } from '../errors.ts'
import type { Hasher } from '../hasher.ts'
import { bytesKey } from '../layout.ts'
import { receive } from '../receive.ts'
import type { Facts, Parameters } from '../record.ts'
import { assertRoom } from '../refuse.ts'
import type { Rooms } from '../rooms.ts'
import { SourceChanged, SourceError } from '../source/failure.ts'
import { discardUnfinished } from '../unfinished.ts'
import type { From, Opening, Source, Told } from './source.ts'

/** Attempts of one process; within one the source itself outlasts what breaks off. */
const attemptsMax = 6
const attemptDelayUsualMs = 1000

export interface PullWork {
  rooms: Rooms
  hasher: Hasher
  own: OwnJob
  source: Source
  /** With their secrets. */
  parameters: Parameters
  sizeMax: number
  /** To wait after the first attempt; after each further one it is twice as long. */
  attemptDelayMs?: number
  signal: AbortSignal
  settle: (digests: Digests) => Promise<unknown>
  onProgress: () => void
  /** Told of what is tried again. */
  onTrouble: (error: Error) => void
}

export interface Pulled {
  facts: Facts
  told: Told
}

/** What an attempt can begin with. */
interface Rest {
  remains: Remains
  from: From
}

/** Resolves when the bytes are stored and checked; rejects with what ended the last attempt. */
export async function pull(work: PullWork): Promise<Pulled> {
  const { own, signal, attemptDelayMs = attemptDelayUsualMs } = work
  let rest = await findRest(work)
  for (let attempt = 1; ; attempt++) {
    try {
      return await tryOnce(work, rest)
    } catch (error) {
      // On a disk what was left is copied: without it there may be room.
      const isTight = rest !== undefined && isImageError(error, 'resource_exhausted')
      if (signal.aborted || !(isTight || mayGoOn(error))) throw error
      if (attempt >= attemptsMax) throw gaveUp(error, attempt)
      work.onTrouble(asError(error))
      await delay(attemptDelayMs * 2 ** (attempt - 1), undefined, { signal })
      const isGone = error instanceof SourceChanged || isImageError(error, 'aborted')
      // From another edition, or of an upload that has gone, nothing can be used.
      rest = isGone || isTight ? undefined : await findRest(work)
      if (!rest) own.isDurable(0)
    }
  }
}

/** A verdict on the image stands; what the source or the storage did may be different next time. */
function mayGoOn(error: unknown): boolean {
  // That has been tried again and again already.
  if (error instanceof SourceError) return false
  return isImageError(error, 'aborted', 'unavailable', 'deadline_exceeded')
}

/** What broke off again and again says what would help, where it is the source's doing. */
function gaveUp(last: unknown, attempts: number): unknown {
  if (!(last instanceof SourceChanged)) return last
  const help = last.hasChanged
    ? 'Name a URL whose content stays as it is, or download it and upload the file.'
    : 'Download it elsewhere and upload the file, or name a mirror that supports Range and has an ETag.'
  const text = `It was begun ${attempts} times and never came to its end. The last time: ${last.message}`
  return new ImageError('unavailable', `${text} ${help}`, { cause: last })
}

async function tryOnce(work: PullWork, rest: Rest | undefined): Promise<Pulled> {
  const { rooms, hasher, own, source, parameters, signal } = work
  own.state = 'starting'
  const opening = await source.open({
    name: own.claim.name,
    parameters,
    id: own.claim.uuid,
    ...(rest && { from: rest.from }),
    signal,
    rooms,
    onTrouble: work.onTrouble,
    onNote: (text) => {
      own.note = text
      work.onProgress()
    },
  })
  own.note = undefined
  // Who opened it must leave it, also when it is never read.
  const bytes = new LeftOnce(opening.bytes)
  try {
    const facts = await store({ ...work, hasher }, opening, bytes, rest)
    return { facts, told: opening }
  } finally {
    await bytes.leave()
  }
}

async function store(
  work: PullWork,
  opening: Opening,
  bytes: Bytes,
  rest: Rest | undefined,
): Promise<Facts> {
  const { rooms, hasher, own, signal } = work
  const { size, validator, offset, expected, format, decompress } = opening
  const goesOn = rest && offset === rest.remains.offset ? rest.remains : undefined
  if (offset > 0 && !goesOn) throw new ImageError('internal', `The source began at ${offset}.`)
  if (!goesOn) {
    own.isDurable(0)
    await discardRests(work)
  }
  own.size = size
  if (size !== undefined && size > work.sizeMax) throw tooLarge(size, work.sizeMax)
  await assertRoom(rooms, size)
  return await receive(rooms.backend, hasher, {
    own,
    bytes: goesOn?.read ? joined(await goesOn.read(signal), bytes) : bytes,
    sizeMax: work.sizeMax,
    expected,
    ...(format && { format }),
    signal,
    settle: work.settle,
    onProgress: work.onProgress,
    ...(goesOn && !goesOn.read && { after: goesOn }),
    // Of what can not be compared with its source nothing can be used.
    ...(validator !== undefined && { validator, keep: (error) => isWorthKeeping(own, error) }),
    ...(decompress && { decompress }),
    ...(rooms.at && { at: rooms.at }),
  })
}

/** Who has lost the work leaves everything to its successor, and who stops means to be gone on with. */
function isWorthKeeping(own: OwnJob, error: unknown): boolean {
  if (own.stopped !== undefined) return own.stopped !== 'deleted'
  // Whatever comes next begins anew.
  if (error instanceof SourceChanged) return false
  return isImageError(error, 'unavailable', 'deadline_exceeded')
}

async function* joined(before: Bytes, after: Bytes): Bytes {
  yield* before
  yield* after
}

/** The longest rest that any owner of this work has left, this one too. */
async function findRest({ rooms, own }: PullWork): Promise<Rest | undefined> {
  const { backend, jobs } = rooms
  if (!hasResumable(backend)) return undefined
  const key = bytesKey(own.claim.name, own.claim.uuid)
  let longest: Rest | undefined
  for (const { owner, beat } of await jobs.epochs(own)) {
    const { validator, durableSize = 0, unfinished, size } = beat
    if (validator === undefined) continue
    const remains = await backend.remains(key, owner, durableSize)
    // Of another edition, begun by who did not know that it had lost the work.
    if (unfinished !== undefined && remains?.id !== unfinished) continue
    if (!remains || remains.offset <= (longest?.remains.offset ?? 0)) continue
    const from = { offset: remains.offset, validator, ...(size !== undefined && { size }) }
    longest = { remains, from }
  }
  return longest
}

/** A store does not know of which edition the bytes are that were left: those of others must go first. */
async function discardRests({ rooms, own }: PullWork): Promise<void> {
  const count = await discardUnfinished(rooms.backend, own.claim)
  // A successor must not take what comes now for what the last beat told of.
  if (count > 0) await rooms.jobs.beat(own)
}

/** Bytes that are left exactly once, whether they were read, begun or never looked at. */
class LeftOnce implements AsyncIterable<Uint8Array> {
  readonly #iterator: AsyncIterator<Uint8Array>

  constructor(bytes: Bytes) {
    this.#iterator = bytes[Symbol.asyncIterator]()
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return this.#iterator
  }

  /** What goes wrong here is hidden by what led here. */
  async leave(): Promise<void> {
    await this.#iterator.return?.().catch(() => {})
  }
}

function tooLarge(size: number, sizeMax: number): ImageError {
  return new ImageError(
    'invalid_argument',
    `The source has ${size} bytes; MAX_IMAGE_SIZE is ${sizeMax}.`,
    { reason: 'too_large', expected: String(sizeMax), actual: String(size) },
  )
}
