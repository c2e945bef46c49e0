// The trial of exclusive creation: writers whose bodies are held back until the store has the
// requests of all, since some servers check the condition before the body comes.

import { PutObjectCommand } from '@aws-sdk/client-s3'
import { ImageError, isImageError, readAll } from '@backing-image/core'
import type { ClientRequest } from 'node:http'
import { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import type { Bucket } from './bucket.ts'
import { readObject } from './read.ts'

const writerCount = 8
const roundCount = 5
/** A round in which the store was too busy to decide tells nothing, and is run again. */
const repeatsMax = 5
/** What a connection has taken, the server has still to read: else the bodies come with the heads. */
const graceMs = 50
/** A server that works on fewer requests at a time can not have all of them open. */
const holdMsMax = 3_000

type Outcome = 'won' | 'lost' | 'unclear'

/**
 * Why the store can not create exclusively; undefined when nothing was found against it. `keyOf`
 * gives a key of its own for each number.
 */
export async function raceExclusively(
  bucket: Bucket,
  keyOf: (number: number) => string,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    let number = 100
    // One after the other first: most of those that can not do it show it here.
    const alone = await decided(() => oneByOne(bucket, keyOf((number += 1)), signal))
    if (alone !== 1) return overwrites(alone)
    for (let round = 0; round < roundCount; round += 1) {
      const winners = await decided(() => together(bucket, keyOf((number += 1)), signal))
      if (winners !== 1)
        return `${winners} of ${writerCount} racing writers were told that they won`
    }
    return undefined
  } catch (error) {
    if (!isImageError(error, 'unimplemented')) throw error
    return 'the store does not implement If-None-Match: * (501)'
  }
}

function overwrites(winners: number): string {
  return `the store ignores If-None-Match: * and overwrites: ${winners} of 2 writers won`
}

/** The winners of a round that was decided; undefined asks for another round. */
async function decided(run: () => Promise<number | undefined>): Promise<number> {
  for (let repeat = 0; repeat < repeatsMax; repeat += 1) {
    const winners = await run()
    if (winners !== undefined) return winners
    await pause(100 * 2 ** repeat)
  }
  const text = `In ${repeatsMax} trials no writer won: the store is too busy to be tried.`
  throw new ImageError('unavailable', text, { reason: 'storage_unavailable' })
}

async function oneByOne(
  bucket: Bucket,
  key: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const first = await write(bucket, key, Buffer.from('first'), signal)
  const second = await write(bucket, key, Buffer.from('second'), signal)
  return winnersOf([first, second])
}

async function together(
  bucket: Bucket,
  key: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  let waiting = writerCount
  let release = (): void => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const arrive = (): void => {
    waiting -= 1
    if (waiting === 0) setTimeout(release, graceMs)
  }
  const late = setTimeout(release, holdMsMax)
  const outcomes = await Promise.all(
    Array.from({ length: writerCount }, async (_, writer) => {
      const body = new HeldBody(Buffer.from(`writer ${writer}`), released)
      void body.sent.then(arrive)
      // Some are refused before their body was asked for.
      return await write(bucket, key, body, signal).finally(() => body.giveUp())
    }),
  ).finally(() => clearTimeout(late))
  const after = await write(bucket, key, Buffer.from('late'), signal)
  const winners = winnersOf([...outcomes, after])
  if (winners !== 1) return winners
  const stored = await read(bucket, key, signal)
  // Told to one, and kept of another: as bad as two winners.
  return stored === `writer ${outcomes.indexOf('won')}` ? 1 : 2
}

/** Undefined when none won although one may have. */
function winnersOf(outcomes: Outcome[]): number | undefined {
  const winners = outcomes.filter((outcome) => outcome === 'won').length
  return winners === 0 ? undefined : winners
}

async function write(
  bucket: Bucket,
  key: string,
  body: Buffer | HeldBody,
  signal: AbortSignal,
): Promise<Outcome> {
  const command = new PutObjectCommand({
    ...bucket.at(key),
    Body: body,
    ContentLength: body instanceof HeldBody ? body.sizeBytes : body.length,
    IfNoneMatch: '*',
  })
  try {
    await bucket.send(command, { what: 'try exclusive creation', signal, attemptsMax: 1 })
    return 'won'
  } catch (error) {
    if (isImageError(error, 'already_exists')) return 'lost'
    if (isImageError(error, 'unavailable')) return 'unclear'
    throw error
  }
}

async function read(bucket: Bucket, key: string, signal: AbortSignal): Promise<string> {
  return (await readAll(await readObject(bucket, key, { signal }))).toString()
}

/** A body whose first byte goes out with the head of the request, and the rest only when released. */
class HeldBody extends Readable {
  readonly sizeBytes: number
  /** Resolves when the first byte was handed to the connection, or never will be. */
  readonly sent: Promise<void>
  giveUp: () => void = () => {}
  readonly #content: Buffer
  readonly #released: Promise<void>

  constructor(content: Buffer, released: Promise<void>) {
    super({ read: () => {} })
    this.sizeBytes = content.length
    this.sent = new Promise((resolve) => {
      this.giveUp = resolve
    })
    this.#content = content
    this.#released = released
  }

  /** The client pipes a body into its request: that request is what is to be held back. */
  override pipe<T extends NodeJS.WritableStream>(destination: T): T {
    const request = destination as unknown as ClientRequest
    request.write(this.#content.subarray(0, 1), () => this.giveUp())
    void this.#released.then(() => {
      if (!request.destroyed) request.end(this.#content.subarray(1))
    })
    return destination
  }
}
