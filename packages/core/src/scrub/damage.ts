// Bytes that are not what their records say: how that is told, and what becomes of them.

import type { VersionRecord } from '../record.ts'
import type { Finding, ScrubContext } from './finding.ts'
import { type NamedBytes, about, imagesOf } from './named.ts'

/** In what the bytes are not what was stored. */
export interface Damage {
  /** Such as `sha512:…` or `4096 bytes`. */
  expected: string
  actual: string
}

/** What is told of bytes that no record which stands agrees with. */
export async function damaged(
  _context: ScrubContext,
  step: string,
  bytes: NamedBytes & { records: VersionRecord[] },
  damage: Damage,
): Promise<Finding> {
  const what = `The bytes of ${imagesOf(bytes.records)} are not what was stored.`
  return { step, level: 'fault', ...about(bytes), ...damage, what, repair: 'none' }
}

/** What is told of records that say something else than others of the very same bytes. */
export function disagreement(
  step: string,
  bytes: NamedBytes,
  wrong: readonly VersionRecord[],
  damage: Damage,
): Finding {
  const what =
    `${imagesOf(wrong)} and another record of the same bytes say different things of them, and the ` +
    'other is right. Delete that version and publish it again.'
  return {
    step,
    level: 'fault',
    ...about({ ...bytes, records: wrong }),
    ...damage,
    what,
    repair: 'none',
  }
}
