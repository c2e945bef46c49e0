// How work that failed is remembered: what its client may read of the failure.

import type { End } from './claim.ts'
import { isImageError } from './errors.ts'
import { SameBytes } from './refuse.ts'

/** What a client may read of a failure: a bug says nothing of itself. */
export function endOf(error: unknown): End {
  const endedAt = new Date().toISOString()
  if (error instanceof SameBytes) {
    const { name, version } = error.record
    const message = `${name} ${version} was published meanwhile, with the same bytes.`
    return { reason: 'already_exists' as const, message, endedAt }
  }
  if (!isImageError(error)) {
    return { reason: 'internal' as const, message: 'An unexpected error; see the log.', endedAt }
  }
  const { reason, message, expected, actual } = error
  return {
    reason,
    message,
    endedAt,
    ...(expected !== undefined && { expected }),
    ...(actual !== undefined && { actual }),
  }
}
