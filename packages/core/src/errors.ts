// What can go wrong, as one closed list. Everything that the rooms below the front throw on purpose
// is an ImageError; anything else is a bug and becomes `internal` at the front.

/** gRPC's canonical codes in lower case: the kind of a failure, whoever asks. */
export type Code =
  | 'cancelled'
  | 'unknown'
  | 'invalid_argument'
  | 'deadline_exceeded'
  | 'not_found'
  | 'already_exists'
  | 'permission_denied'
  | 'resource_exhausted'
  | 'failed_precondition'
  | 'aborted'
  | 'out_of_range'
  | 'unimplemented'
  | 'internal'
  | 'unavailable'
  | 'data_loss'
  | 'unauthenticated'

/** Every reason that a client may be told, in the words of docs/api.md. */
export const reasons = [
  'invalid_request',
  'unauthenticated',
  'forbidden',
  'not_found',
  'method_not_allowed',
  'already_exists',
  'in_use',
  'precondition_failed',
  'too_large',
  'unsupported_media_type',
  'range_not_satisfiable',
  'checksum_mismatch',
  'unsafe_image',
  'unsupported_format',
  'too_many_requests',
  'storage_unavailable',
  'internal',
  'no_space',
] as const

export type Reason = (typeof reasons)[number]

/** The reason that a code stands for when the thrower names none. */
const usualReason: Record<Code, Reason> = {
  cancelled: 'storage_unavailable',
  unknown: 'internal',
  invalid_argument: 'invalid_request',
  deadline_exceeded: 'storage_unavailable',
  not_found: 'not_found',
  already_exists: 'already_exists',
  // The store refused us, not the client: nothing that another token would change.
  permission_denied: 'storage_unavailable',
  resource_exhausted: 'no_space',
  failed_precondition: 'precondition_failed',
  aborted: 'not_found',
  out_of_range: 'range_not_satisfiable',
  unimplemented: 'internal',
  internal: 'internal',
  unavailable: 'storage_unavailable',
  data_loss: 'internal',
  unauthenticated: 'unauthenticated',
}

export interface ImageErrorOptions {
  /** The error that this one explains; kept for the log, never shown to a client. */
  cause?: unknown
  /** Overrides what the code usually stands for. */
  reason?: Reason
  /** What was asked for, where showing it helps: a digest, a size. */
  expected?: string
  /** What was found instead. */
  actual?: string
  /** The state of the image that is not ready. */
  state?: string
}

/** A failure whose kind is known. The message is one or two sentences that tell the reader what to do. */
export class ImageError extends Error {
  override readonly name = 'ImageError'
  readonly code: Code
  readonly reason: Reason
  readonly expected: string | undefined
  readonly actual: string | undefined
  readonly state: string | undefined

  constructor(code: Code, message: string, options: ImageErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.reason = options.reason ?? usualReason[code]
    this.expected = options.expected
    this.actual = options.actual
    this.state = options.state
  }
}

/** True when `error` is an ImageError and, with codes given, one of those. */
export function isImageError(error: unknown, ...codes: Code[]): error is ImageError {
  return error instanceof ImageError && (codes.length === 0 || codes.includes(error.code))
}

/** Runs `work` and turns "it is not there" into undefined; every other failure stays one. */
export async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (isImageError(error, 'not_found')) return undefined
    throw error
  }
}

/** Any thrown value as an Error, so that nothing is lost on the way to the log. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
