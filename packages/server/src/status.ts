// Reason to HTTP status: one table, and the only place that knows a status code of an error.

import { STATUS_CODES } from 'node:http'
import type { Reason } from '@backing-image/core'

export type ErrorStatus =
  | 400
  | 401
  | 403
  | 404
  | 405
  | 409
  | 412
  | 413
  | 415
  | 416
  | 422
  | 429
  | 500
  | 503
  | 507

const statuses: Record<Reason, ErrorStatus> = {
  invalid_request: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  already_exists: 409,
  in_use: 409,
  precondition_failed: 412,
  too_large: 413,
  unsupported_media_type: 415,
  range_not_satisfiable: 416,
  checksum_mismatch: 422,
  unsafe_image: 422,
  unsupported_format: 422,
  too_many_requests: 429,
  internal: 500,
  storage_unavailable: 503,
  no_space: 507,
}

export function statusOf(reason: Reason): ErrorStatus {
  return statuses[reason]
}

/** The phrase that RFC 9457 §4.2.1 wants as the title of a problem without a type of its own. */
export function titleOf(status: ErrorStatus): string {
  return STATUS_CODES[status] ?? 'Error'
}
