// What a failed call on NFS means, with the names that an operator needs: who asked, where it is
// mounted, and which server and export that is.

import { errnoOf } from '@backing-image/backend-local'
import { ImageError } from '@backing-image/core'

/** A store as an operator knows it. */
export interface Place {
  /** Where it is mounted. */
  path: string
  /** `server:/export` */
  export: string
}

/** The error to throw for a failed call; what is no failure of a call comes back untouched. */
export function told(error: unknown, what: string, place: Place): unknown {
  const code = errnoOf(error)
  if (code === undefined || error instanceof ImageError || !(error instanceof Error)) return error
  const failed = `${what} failed with ${code}`
  const there = `${place.path}, the NFS export ${place.export}`
  const who = `user ${process.geteuid?.() ?? '?'}`
  const coded = Object.assign(error, { code })
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new ImageError(
        'permission_denied',
        `${failed}: ${who} may not, on ${there}. The server says so: let ${who} read and write there; ` +
          'an export may be read-only, and with root_squash root is nobody (exports(5)).',
        { cause: coded, reason: 'storage_unavailable' },
      )
    case 'ENOSPC':
    case 'EDQUOT':
      return new ImageError(
        'resource_exhausted',
        `${failed}: ${code === 'EDQUOT' ? `the quota of ${who}` : 'the medium'} is full, on ${there}. ` +
          'Delete images or enlarge it.',
        { cause: coded, reason: 'no_space' },
      )
    case 'ESTALE':
      return new ImageError(
        'unavailable',
        `${failed}: the server no longer knows what was open or looked up, on ${there}. Try again.`,
        { cause: coded, reason: 'storage_unavailable' },
      )
    default:
      return coded
  }
}
