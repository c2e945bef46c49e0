// What can go wrong with Longhorn: it does not answer, answers what is none, or refuses, in its own words.

import { type Code, ImageError, type Reason, asError } from '@backing-image/core'

interface LonghornErrorOptions {
  code: Code
  reason?: Reason
  /** What it answered; undefined when it did not. */
  status?: number
  /** Its own message, word for word. */
  words?: string
  cause?: unknown
}

/**
 * A request to the Longhorn API failed. `unavailable` where the same request may do better later: it was
 * not reached, or something before it answered.
 */
export class LonghornError extends ImageError {
  readonly status: number | undefined
  readonly words: string | undefined

  constructor(message: string, { code, reason, status, words, cause }: LonghornErrorOptions) {
    super(code, message, { cause, ...(reason && { reason }) })
    this.status = status
    this.words = words
  }

  get isTransient(): boolean {
    return this.code === 'unavailable'
  }
}

const texts: Record<string, string> = {
  ENOTFOUND: 'its host name has no address',
  EAI_AGAIN: 'its host name could not be looked up',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection broke',
  ETIMEDOUT: 'no connection came about',
}

/** No answer came, or not all of it. */
export function unreached(base: string, error: unknown): LonghornError {
  const { code = '' } = error as NodeJS.ErrnoException
  const why = texts[code] ?? asError(error).message
  const text = `Longhorn (LONGHORN_API_URL, ${base}) was not reached: ${why}`
  return new LonghornError(`${text}${code === '' ? '' : ` (${code})`}.`, {
    code: 'unavailable',
    cause: error,
  })
}

/** Something answered that is not Longhorn's API, such as a page of its UI or of a proxy. */
export function strange(base: string, status: number, what: string): LonghornError {
  const text = `${base} does not answer as the Longhorn API does: ${what}.`
  return new LonghornError(
    `${text} LONGHORN_API_URL is expected to be like http://longhorn-backend:9500.`,
    { code: 'unavailable', status },
  )
}

/**
 * An answer other than 200, whose body holds the message. Longhorn says 404 for what is not there, and
 * 500 for everything else, be it a request that it refuses (contract §7).
 */
export function refused(what: string, status: number, words: string): LonghornError {
  const text = `Longhorn does not ${what} (${status}): ${words.replace(/[^.!?]$/, '$&.')}`
  const code = codes[status] ?? (status >= 502 ? 'unavailable' : 'failed_precondition')
  return new LonghornError(text, { code, status, words })
}

const codes: Record<number, Code> = {
  401: 'permission_denied',
  403: 'permission_denied',
  404: 'not_found',
  408: 'unavailable',
  409: 'already_exists',
  429: 'unavailable',
}
