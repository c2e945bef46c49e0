// What a scrub does, in this order: what is cheap first, and what others rely on before the rest.

import { ImageError } from '../errors.ts'
import { blocksStep } from './blocks.ts'
import { configsStep } from './configs.ts'
import { corruptStep } from './corrupt.ts'
import { digestsStep } from './digests.ts'
import type { Step } from './finding.ts'
import { jobsStep } from './jobs.ts'
import { marksStep } from './marks.ts'
import { orphansStep } from './orphans.ts'
import { recordsStep } from './records.ts'
import { sizesStep } from './sizes.ts'
import { sparesStep } from './spares.ts'
import { unfinishedStep } from './unfinished.ts'

export const scrubSteps: readonly Step[] = [
  recordsStep,
  sizesStep,
  blocksStep,
  orphansStep,
  unfinishedStep,
  jobsStep,
  marksStep,
  corruptStep,
  digestsStep,
  // It vouches for bytes to Longhorn: only for what was read.
  configsStep,
  // Once all is read: a second copy may be the better one.
  sparesStep,
]

/** The steps of those names, in their own order; all of them for none. Throws `invalid_argument`. */
export function stepsNamed(names: readonly string[] = []): readonly Step[] {
  const unknown = names.find((name) => !scrubSteps.some((step) => step.name === name))
  if (unknown !== undefined) {
    const known = scrubSteps.map((step) => step.name).join(', ')
    const given = JSON.stringify(unknown.slice(0, 80))
    throw new ImageError('invalid_argument', `${given} is no step of a scrub; these are: ${known}.`)
  }
  return names.length === 0 ? scrubSteps : scrubSteps.filter((step) => names.includes(step.name))
}
