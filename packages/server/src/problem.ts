// Errors as a client sees them: application/problem+json (RFC 9457), with our code and, where it
// helps, what was expected and what was found.

import { ImageError, type Reason } from '@backing-image/core'
import { type ErrorStatus, statusOf, titleOf } from './status.ts'

export interface Problem {
  type: 'about:blank'
  title: string
  status: ErrorStatus
  /** One or two sentences that tell the reader what to do. */
  detail: string
  code: Reason
  expected?: string
  actual?: string
  state?: string
}

/** Seconds after which a client that was sent away may come again. */
const retryAfterSeconds = 5

/** What may be told of any thrown value: of a bug only where to look it up. */
export function problemOf(error: unknown, requestId: string): Problem {
  if (error instanceof ImageError) {
    const { reason, message, expected, actual, state } = error
    return {
      ...bare(reason, message),
      ...(expected === undefined ? {} : { expected }),
      ...(actual === undefined ? {} : { actual }),
      ...(state === undefined ? {} : { state }),
    }
  }
  return bare('internal', `This is a fault of the server; its log has it under ${requestId}.`)
}

function bare(code: Reason, detail: string): Problem {
  const status = statusOf(code)
  return { type: 'about:blank', title: titleOf(status), status, detail, code }
}

export function problemResponse(problem: Problem, headers: Record<string, string> = {}): Response {
  const { status } = problem
  return new Response(JSON.stringify(problem), {
    status,
    headers: {
      'Content-Type': 'application/problem+json',
      'Cache-Control': 'no-store',
      ...(status === 429 || status === 503 ? { 'Retry-After': String(retryAfterSeconds) } : {}),
      ...headers,
    },
  })
}

/** A request that is wrong in itself: 400. */
export function invalid(message: string): ImageError {
  return new ImageError('invalid_argument', message)
}

export function unsupportedMedia(message: string): ImageError {
  return new ImageError('invalid_argument', message, { reason: 'unsupported_media_type' })
}

/** An error whose answer carries a header of its own. */
export class ErrorWithHeaders extends ImageError {
  readonly headers: Record<string, string>

  constructor(error: ImageError, headers: Record<string, string>) {
    const { code, message, reason, expected, actual, state } = error
    super(code, message, {
      reason,
      ...(expected === undefined ? {} : { expected }),
      ...(actual === undefined ? {} : { actual }),
      ...(state === undefined ? {} : { state }),
    })
    this.headers = headers
  }
}
