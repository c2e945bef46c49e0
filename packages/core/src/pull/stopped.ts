// Why a pull of this process ends before its time.

import type { Job } from '../claim.ts'
import { ImageError } from '../errors.ts'

export function stopping(): ImageError {
  return new ImageError('cancelled', 'The server is stopping.')
}

export function lost({ name, claim }: Job): ImageError {
  return new ImageError(
    'failed_precondition',
    `The server that was to fetch ${name} stopped, and this one can not go on with a source of type ` +
      `${claim.description.sourceType}. Ask for it again.`,
    { reason: 'storage_unavailable' },
  )
}
