// Bytes that are not what their records say: how that is told, and what becomes of them.

import type { Corruption } from '../corrupt.ts'
import type { VersionRecord } from '../record.ts'
import { type Finding, type ScrubContext, mended } from './finding.ts'
import { heal } from './heal.ts'
import { type NamedBytes, about, imagesOf } from './named.ts'

/** In what the bytes are not what was stored. */
export interface Damage {
  /** Such as `sha512:…` or `4096 bytes`. */
  expected: string
  actual: string
}

export interface Telling {
  /** Such as `are not what was stored`. */
  how?: string
  /** What the mark says of the bytes, where that is not what is told now. */
  mark?: Corruption
}

/** What is told of bytes that no record which stands agrees with; with repair they are marked and healed. */
export async function damaged(
  context: ScrubContext,
  step: string,
  bytes: NamedBytes,
  damage: Damage,
  { how = 'are not what was stored', mark = damage }: Telling = {},
): Promise<Finding> {
  const what = `The bytes of ${imagesOf(bytes.records)} ${how}.`
  const found: Finding = { step, level: 'fault', ...about(bytes), ...damage, what }
  return await mended(context, found, async () => {
    await heal(context, bytes, mark)
  })
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
