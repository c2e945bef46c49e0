// Whether an answer brings what a download still misses: the bytes right after those that it has, of
// the very same content.

import type { Answer } from './answer.ts'
import { SourceChanged, SourceError } from './failure.ts'
import { type Identity, contentRangeOf, difference, identityOf } from './identity.ts'

/** What a download has, and what it knows of the content. */
export interface Progress {
  /** For messages. */
  url: string
  /** How many bytes from the beginning are there. */
  position: number
  identity: Identity
  /** What the answer was to be compared with by the source. */
  validator: string | undefined
}

export interface Continuation {
  /** With what the answer has added. */
  identity: Identity
  /** The byte after the last one of the answer, where it has a range. */
  end?: number
  /** Everything is there: nothing comes. */
  isOver?: boolean
}

/**
 * Takes an answer that goes on right after `position`. Throws SourceChanged when all must be read
 * again, and a SourceError for an answer that is none to a download.
 */
export function continuationOf(answer: Answer, progress: Progress): Continuation {
  const { url, position, identity } = progress
  const { status } = answer
  if (status === 206 && position > 0) return rangeOf(answer, progress)
  if (status === 416 && position > 0) return endOf(answer, progress)
  if (status !== 200) {
    throw new SourceError(`Could not read ${url}: it answered ${status} instead of 200.`, {
      isTransient: false,
      status,
    })
  }
  const found = identityOf(answer)
  assertSame(progress, found)
  if (position > 0) throw startAgain(progress, 'it does not go on from the middle')
  // What was told once is kept: it was told to the caller, too.
  return { identity: known(identity, found) }
}

function rangeOf(answer: Answer, progress: Progress): Continuation {
  const { position, identity } = progress
  const { start, end, total } = contentRangeOf(answer) ?? {}
  const found = identityOf(answer)
  assertSame(progress, found)
  assertValidated(progress, found)
  const size = total ?? identity.size
  const isRight = start === position && end !== undefined && end >= start
  if (!isRight || (size !== undefined && end >= size)) {
    const field = JSON.stringify(answer.headers['content-range'] ?? '').slice(0, 100)
    throw startAgain(progress, `it was asked for bytes=${position}- and answered with ${field}`)
  }
  return { identity: known(identity, found), end: end + 1 }
}

/** Nothing follows: that is right only when everything is there. */
function endOf(answer: Answer, progress: Progress): Continuation {
  const { position, identity } = progress
  const size = contentRangeOf(answer)?.total
  assertSame(progress, { size, etag: answer.headers.etag })
  if (size !== position) throw startAgain(progress, 'it has nothing from there on')
  return { identity: { ...identity, size }, isOver: true }
}

function known(before: Identity, found: Identity): Identity {
  return {
    etag: before.etag ?? found.etag,
    lastModified: before.lastModified ?? found.lastModified,
    size: before.size ?? found.size,
    encoding: before.encoding ?? found.encoding,
  }
}

function assertSame(progress: Progress, found: Identity): void {
  const how = difference(progress.identity, found)
  if (how !== undefined) throw changed(progress, how)
}

/**
 * A 206 has the ETag that a 200 would have (RFC 9110 §15.3.7). A date it may leave out, but then only
 * the source's word says that it has looked at If-Range at all.
 */
function assertValidated(progress: Progress, { etag, lastModified }: Identity): void {
  const { validator = '' } = progress
  const [name, found] = validator.startsWith('"') ? ['ETag', etag] : ['date', lastModified]
  if (found === validator) return
  throw changed(
    progress,
    `its ${name} was ${JSON.stringify(validator).slice(0, 100)} and is missing`,
  )
}

function changed({ url }: Progress, how: string): SourceChanged {
  return new SourceChanged(`The content of ${url} has changed while it was read: ${how}.`, {
    hasChanged: true,
  })
}

/** The content may be the same, but the rest of it can not be had. */
export function startAgain(
  { url, position }: Progress,
  why: string,
  cause?: unknown,
): SourceChanged {
  return new SourceChanged(`${url} can not be gone on with after ${position} bytes: ${why}.`, {
    hasChanged: false,
    cause,
  })
}
