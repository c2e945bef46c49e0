// Puts that are watched: what they say to be durable, what they ask, and whether they may hang for ever.

import { setImmediate as turn } from 'node:timers/promises'
import { type Backend, type Bytes, type PutOptions } from '../../backend.ts'
import { type Remains, type Stat } from '../../backend.ts'
import { content, eventually, gate, mebibyte, soon } from './case.ts'
import { WatchedSource } from './source.ts'

/** A store that has told nothing of so many bytes will not. */
const givenBytesMax = 96 * mebibyte

/** One put, and all that it says. */
export interface Attempt {
  written: Promise<Stat>
  /** What `onDurable` was told last. */
  told: () => number
  given: () => number
  /** The errors that `keep` was asked with. */
  asked: unknown[]
  source: WatchedSource
}

export interface AttemptOptions {
  /** What it goes on from, where the store does that itself. */
  after?: Remains
  /** What `keep` answers; absent unless given. */
  keep?: boolean
  signal?: AbortSignal
  size?: number
}

/** Puts `bytes`, and watches what is said of them. */
export function put(
  backend: Backend,
  key: string,
  bytes: Bytes,
  options: AttemptOptions = {},
): Attempt {
  const { keep, ...others } = options
  const asked: unknown[] = []
  let toldBytes = 0
  let givenBytes = options.after?.offset ?? 0
  let isOver = false
  const pieces = bytes[Symbol.asyncIterator]()
  const source = new WatchedSource(async () => {
    const step = await pieces.next()
    if (step.done === true) return undefined
    givenBytes += step.value.length
    return step.value
  })
  const given: PutOptions = {
    onDurable: (durableBytes) => {
      const fault = (found: string): number =>
        source.faults.push(`told of ${durableBytes}: ${found}`)
      if (isOver) fault('the put had ended')
      if (durableBytes <= toldBytes) fault(`${toldBytes} had been told`)
      if (durableBytes > givenBytes) fault(`${givenBytes} had been given`)
      toldBytes = durableBytes
    },
    ...(keep === undefined ? {} : { keep: (error) => asked.push(error) > 0 && keep }),
    ...others,
  }
  const written = backend.put(key, source, given).finally(() => {
    isOver = true
  })
  written.catch(() => undefined)
  return { written, told: () => toldBytes, given: () => givenBytes, asked, source }
}

/** `body`, of which the store may hold the beginning; then its end, or `failure`. */
export async function* piecesOf(body: Buffer, from?: Remains, failure?: Error): Bytes {
  if (from?.read) yield* await from.read()
  for (let at = from?.offset ?? 0; at < body.length; at += mebibyte) {
    yield body.subarray(at, at + mebibyte)
  }
  if (failure) throw failure
}

export function afterOf(from: Remains | undefined): AttemptOptions {
  return from && !from.read ? { after: from } : {}
}

/** A put that hangs as soon as it has told of something durable: all that a dead process leaves. */
export async function hang(
  backend: Backend,
  key: string,
  options: AttemptOptions,
): Promise<{ attempt: Attempt; body: Buffer; release: () => void }> {
  const body = content(givenBytesMax)
  const released = gate()
  const hangs = gate()
  async function* hanging(): Bytes {
    for await (const piece of piecesOf(body)) {
      yield piece
      // A store tells when it can, which is not while we give.
      await turn()
      if (hasTold()) break
    }
    await eventually(hasTold, 'something is told to be durable', 60_000)
    hangs.open()
    await released.opened
    throw new Error('released')
  }
  const attempt = put(backend, key, hanging(), options)
  const hasTold = (): boolean => attempt.told() > 0
  await soon(Promise.race([hangs.opened, attempt.written]), 'something is durable', 120_000)
  return { attempt, body: body.subarray(0, attempt.given()), release: released.open }
}
