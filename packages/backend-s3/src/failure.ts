// What went wrong at an S3 store, as the kinds that this project knows: told by the store's code and
// the HTTP status, never by a message. An answer to HEAD has only the status.

import { ImageError, type Code, type Reason } from '@backing-image/core'

/** Where a request went, for messages. */
export interface Origin {
  endpoint: string
  bucket: string
  region: string
  accessKey: string
}

/** What is known of an error that a request ended with. */
export interface Failure {
  /** The store's or the system's word for it: `NoSuchKey`, `ECONNREFUSED`; else the error's name. */
  code: string
  /** Undefined when there was no answer. */
  status: number | undefined
}

interface ErrorParts {
  name?: unknown
  code?: unknown
  Code?: unknown
  $metadata?: { httpStatusCode?: number }
  $response?: { statusCode?: number }
  cause?: unknown
}

export function failureOf(error: unknown): Failure {
  const parts: ErrorParts = typeof error === 'object' && error !== null ? error : {}
  const status = parts.$metadata?.httpStatusCode ?? parts.$response?.statusCode
  const words = status === undefined ? [parts.code, parts.name] : [parts.Code, parts.name]
  const code = words.find((word) => typeof word === 'string' && word !== '')
  return { code: typeof code === 'string' ? code : 'unknown', status }
}

/** The store's word for why a request failed, of an ImageError that `translate` made. */
export function storeCodeOf(error: unknown): string | undefined {
  return error instanceof ImageError ? failureOf(error.cause).code : undefined
}

/** The store's own codes for "try again", whatever their status. */
const transientCodes = new Set([
  'SlowDown',
  'RequestTimeout',
  // Another request is at the same key: nothing is decided yet.
  'ConditionalRequestConflict',
  'OperationAborted',
  // The next attempt is signed with the clock of the store, which came with this answer.
  'RequestTimeTooSkewed',
])

/** TLS found the wrong peer, or the URL is wrong: the next attempt would find the same. */
const settingsCode =
  /^(ERR_TLS_|ERR_SSL_|ERR_INVALID_|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_)|SSL_/

/** True for what may go away by itself: no answer, an overloaded store, an error inside it. */
export function isTransient(error: unknown): boolean {
  const { code, status } = failureOf(error)
  if (transientCodes.has(code)) return true
  if (status === undefined) return isFromNetwork(error) && !settingsCode.test(code)
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 507)
}

/** A programming error must not look like an outage. */
function isFromNetwork(error: unknown): boolean {
  return !(
    error instanceof TypeError ||
    error instanceof RangeError ||
    error instanceof ReferenceError
  )
}

/** True when nothing at all was heard: the store, or the way to it, is down. */
export function isUnanswered(error: unknown): boolean {
  return failureOf(error).status === undefined
}

interface Kind {
  code: Code
  text: string
  reason?: Reason
}

/**
 * The error of a request as an ImageError, which keeps it as its cause. `what` is what was being
 * done: `read a/key`. Secrets are never in it.
 */
export function translate(error: unknown, what: string, origin: Origin): ImageError {
  if (error instanceof ImageError) return error
  const failure = failureOf(error)
  const { code, text, reason } = kindOf(failure, error, origin)
  const status = failure.status === undefined ? '' : ` ${failure.status}`
  return new ImageError(code, `Could not ${what}: ${text} (${failure.code}${status}).`, {
    cause: error,
    ...(reason ? { reason } : {}),
  })
}

function kindOf(failure: Failure, error: unknown, origin: Origin): Kind {
  const { code, status } = failure
  const { endpoint, bucket } = origin
  const store = `the S3 endpoint ${endpoint}`
  if (status === undefined && settingsCode.test(code)) {
    const text = `${store} can not be trusted; EXTRA_CA_FILE names further certificates`
    return { code: 'failed_precondition', reason: 'storage_unavailable', text }
  }
  if (isTransient(error)) {
    const text = status === undefined ? `${store} can not be reached` : `${store} is not able to`
    return { code: 'unavailable', reason: 'storage_unavailable', text: `${text}; try again` }
  }
  return (
    byCode(code, origin) ??
    (status === undefined ? undefined : byStatus(status, origin)) ?? {
      code: 'internal',
      text: `${store} gave an answer for bucket "${bucket}" that is not understood`,
    }
  )
}

function byCode(code: string, origin: Origin): Kind | undefined {
  const { endpoint, bucket, region } = origin
  switch (code) {
    case 'NoSuchBucket': {
      const text = `there is no bucket "${bucket}" at ${endpoint}; make it, or correct S3_BUCKET`
      return { code: 'failed_precondition', reason: 'storage_unavailable', text }
    }
    case 'AuthorizationHeaderMalformed':
    case 'PermanentRedirect':
    case 'TemporaryRedirect': {
      const text = `bucket "${bucket}" is not in region "${region}" of ${endpoint}; see S3_REGION`
      return { code: 'failed_precondition', reason: 'storage_unavailable', text }
    }
    case 'QuotaExceeded':
    case 'InsufficientCapacity':
    case 'XMinioStorageFull':
      return full(origin)
    case 'EntityTooLarge': {
      const text = `it is larger than ${endpoint} takes`
      return { code: 'resource_exhausted', reason: 'too_large', text }
    }
    case 'MethodNotAllowed':
    case 'NotImplemented':
      return notBuilt(origin)
    default:
      return undefined
  }
}

function byStatus(status: number, origin: Origin): Kind | undefined {
  const { endpoint, bucket, accessKey } = origin
  switch (status) {
    case 301:
    case 307:
      return byCode('PermanentRedirect', origin)
    case 401:
    case 403: {
      const text =
        `${endpoint} refuses access key "${accessKey}" for bucket "${bucket}"; check ` +
        'S3_ACCESS_KEY, S3_SECRET_KEY and what that key may do'
      return { code: 'permission_denied', text }
    }
    case 404:
      return { code: 'not_found', text: `it is not in bucket "${bucket}"` }
    case 412:
      return { code: 'already_exists', text: 'the store holds something else there' }
    case 416:
      return { code: 'out_of_range', text: 'the range is not within it' }
    case 405:
    case 501:
      return notBuilt(origin)
    case 507:
      return full(origin)
    default:
      return undefined
  }
}

function notBuilt({ endpoint }: Origin): Kind {
  return { code: 'unimplemented', text: `${endpoint} does not implement that` }
}

function full({ endpoint, bucket }: Origin): Kind {
  const text = `bucket "${bucket}" at ${endpoint} is full; delete images or raise its quota`
  return { code: 'resource_exhausted', reason: 'no_space', text }
}
