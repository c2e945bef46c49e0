// What can go wrong with a source of bytes that is somewhere else, and whether it may go away by
// itself: told by status and code, never by a message.

import { type IncomingHttpHeaders, STATUS_CODES } from 'node:http'
import { ImageError, asError } from '../errors.ts'
import { redactUrl } from './redact.ts'

interface SourceErrorOptions {
  isTransient: boolean
  /** What the source answered; undefined when it did not. */
  status?: number
  retryAfterMs?: number
  cause?: unknown
}

/**
 * A source did not give what it should: `unavailable` when the same request may do better later, else
 * `invalid_argument`, since another URL is needed.
 */
export class SourceError extends ImageError {
  readonly isTransient: boolean
  readonly status: number | undefined
  /** For how long the source asks to be left alone. */
  readonly retryAfterMs: number | undefined

  constructor(message: string, options: SourceErrorOptions) {
    super(options.isTransient ? 'unavailable' : 'invalid_argument', message, options)
    this.isTransient = options.isTransient
    this.status = options.status
    this.retryAfterMs = options.retryAfterMs
  }
}

/** True for what may go away by itself: then the same request may be made again. */
export function isTransientSource(error: unknown): boolean {
  return error instanceof SourceError && error.isTransient
}

/**
 * What came before must be thrown away, and everything be read again from the first byte: the source
 * has other content now, or can not go on where it was.
 */
export class SourceChanged extends ImageError {
  /** True when the content is another one; false when it only can not be gone on with. */
  readonly hasChanged: boolean

  constructor(message: string, options: { hasChanged: boolean; cause?: unknown }) {
    super('unavailable', message, options)
    this.hasChanged = options.hasChanged
  }
}

const retryAfterMsMax = 300_000

/** The failure that an answer other than success is. */
export function statusFailure(
  url: string,
  status: number,
  headers: IncomingHttpHeaders,
): SourceError {
  const text = `Could not read ${redactUrl(url)}: it answered ${wordsOf(status)}.${advice(status)}`
  return refusal(text, status, headers)
}

/** A proxy that does not lead to `target`. */
export function proxyFailure(
  { proxy, target }: { proxy: string; target: string },
  status: number,
  headers: IncomingHttpHeaders,
): SourceError {
  const text = `The proxy ${redactUrl(proxy)} does not lead to ${target}: it answered`
  return refusal(`${text} ${wordsOf(status)}.`, status, headers)
}

function refusal(text: string, status: number, headers: IncomingHttpHeaders): SourceError {
  const isTransient = status === 408 || status === 425 || status === 429 || status >= 500
  const retryAfterMs = isTransient ? parseRetryAfter(headers['retry-after']) : undefined
  return new SourceError(text, {
    isTransient,
    status,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  })
}

function wordsOf(status: number): string {
  return [status, STATUS_CODES[status]].filter((each) => each !== undefined).join(' ')
}

function advice(status: number): string {
  if (status === 401 || status === 403) {
    return ' A link may have expired; credential: {"secretRef": "NAME"} names a secret to send.'
  }
  if (status === 101)
    return ' No other protocol was asked for: name a URL that gives the file itself.'
  if (status === 404 || status === 410) return ' Look whether the URL is still the right one.'
  return ''
}

/** Seconds or a date (RFC 9110 §10.2.3), as milliseconds from now: at most five minutes. */
function parseRetryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined
  const waitMs = /^[0-9]+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isNaN(waitMs) ? undefined : Math.min(Math.max(waitMs, 0), retryAfterMsMax)
}

/** TLS found somebody else at the other end; the next attempt would, too. */
const certificateCode =
  /^(ERR_TLS_CERT|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_(CA|PURPOSE)|PATH_LENGTH|ERROR_IN_CERT)/

const texts: Record<string, string> = {
  ENOTFOUND: 'its host name has no address',
  EAI_AGAIN: 'its host name could not be looked up',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection broke',
  ERR_STREAM_PREMATURE_CLOSE: 'the connection broke',
  ETIMEDOUT: 'no connection came about',
}

/**
 * The error of a request or of a body as a SourceError that keeps it as its cause. What is no failure
 * of the network stays as it is: a mistake of ours must not look like an outage.
 */
export function sourceFailure(error: unknown, url: string, proxy?: string): Error {
  const { code } = error as NodeJS.ErrnoException
  if (error instanceof ImageError || typeof code !== 'string') return asError(error)
  // Misuse of an interface is never the network's doing.
  if (error instanceof TypeError || error instanceof RangeError) return error
  const through = proxy === undefined ? '' : ` through the proxy ${redactUrl(proxy)}`
  const what = `Could not read ${redactUrl(url)}${through}`
  if (certificateCode.test(code)) {
    const how = 'EXTRA_CA_FILE can name the certificate of the authority that signed it'
    return new SourceError(`${what}: its certificate is not trusted (${code}). ${how}.`, {
      isTransient: false,
      cause: error,
    })
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    const text = `${what}: the head of its answer is too large.`
    return new SourceError(text, { isTransient: false, cause: error })
  }
  const isGarbage = code.startsWith('HPE_')
  const text = isGarbage ? 'its answer is no HTTP' : (texts[code] ?? 'the connection failed')
  return new SourceError(`${what}: ${text} (${code}).`, { isTransient: true, cause: error })
}
