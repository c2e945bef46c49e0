// Errors of gRPC: what is told of ours, in the words that longhorn-manager looks for (contract §1.3).

import { type StatusObject, status } from '@grpc/grpc-js'
import { asError, isImageError } from '@backing-image/core'

/** A call that failed, with its status. */
export class RpcError extends Error {
  override readonly name = 'RpcError'
  readonly code: status

  constructor(code: status, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/** Such as NOT_FOUND. */
export function rpcCodeName(code: status): string {
  return status[code]
}

export function missingArgument(): RpcError {
  return new RpcError(status.INVALID_ARGUMENT, 'missing required argument')
}

/**
 * What the files refuse, as who asks them over REST is told it: longhorn-manager knows
 * "already exists" in it.
 */
export function refusal(error: unknown): RpcError {
  const { message } = asError(error)
  const text = `resp.StatusCode(500) != http.StatusOK(200), response body content: ${message}\n`
  return new RpcError(status.UNKNOWN, text, { cause: error })
}

/** A header of HTTP/2 holds it; others take 16 KiB of all of them. */
const detailsMax = 4000

/** What the caller gets. Whatever has no status of its own is UNKNOWN, as in Go. */
export function statusOf(error: unknown): Pick<StatusObject, 'code' | 'details'> {
  const { message } = asError(error)
  // grpc-js encodes it as a URI, which throws for half a pair of UTF-16.
  const details = Buffer.from(message.slice(0, detailsMax)).toString()
  if (error instanceof RpcError) return { code: error.code, details }
  if (isImageError(error, 'invalid_argument')) return { code: status.INVALID_ARGUMENT, details }
  // longhorn-manager has the backup wait for its turn then (contract §6.5).
  if (isImageError(error, 'deadline_exceeded')) return { code: status.DEADLINE_EXCEEDED, details }
  return { code: status.UNKNOWN, details }
}
