// One run of the steps, from the first to the last or until it is stopped: what they find goes into the
// report as it comes.

import { ImageError, isImageError } from '../errors.ts'
import type { Hasher } from '../hasher.ts'
import type { Sources } from '../pull/source.ts'
import type { Rooms } from '../rooms.ts'
import type { ScrubContext, Step } from './finding.ts'
import type { Rate } from './rate.ts'
import { type ScrubReport, type StepReport, addFinding, endReport } from './report.ts'

export interface RunOptions {
  rooms: Rooms
  hasher: Hasher
  sources: Sources
  rate: Rate
  signal: AbortSignal
  /** See ScrubContext. */
  nowNs: bigint
}

/** Why a run ends before it is done; anything else that it is aborted with makes it fail, too. */
export class Cancelled extends Error {}

/** Fills the report; resolves when it is ended, however that is. */
export async function runSteps(
  steps: readonly Step[],
  report: ScrubReport,
  options: RunOptions,
): Promise<void> {
  const { rooms, signal } = options
  const verified = new Map<string, string>()
  try {
    for (const [index, step] of steps.entries()) {
      const told = report.steps[index]
      if (!told) continue
      told.state = 'running'
      const context = { ...contextOf(report, told, options), verified }
      for await (const finding of step.run(context)) {
        addFinding(report, told, finding)
        signal.throwIfAborted()
      }
      told.state = 'done'
    }
    endReport(report, 'done', '')
  } catch (error) {
    const cause: unknown = signal.aborted ? signal.reason : error
    if (cause instanceof Cancelled) return endReport(report, 'cancelled', '')
    if (isImageError(cause)) return endReport(report, 'failed', cause.message)
    rooms.onProblem(new ImageError('internal', `The scrub ${report.id} failed.`, { cause }))
    endReport(report, 'failed', 'An unexpected error; see the log.')
  }
}

function contextOf(
  report: ScrubReport,
  told: StepReport,
  options: RunOptions,
): Omit<ScrubContext, 'verified'> {
  const { rooms, hasher, sources, rate, signal, nowNs } = options
  return {
    rooms,
    hasher,
    sources,
    rate,
    signal,
    nowNs,
    repair: report.repair,
    checked: (objects, bytes = 0) => {
      signal.throwIfAborted()
      told.objects += objects
      told.bytes += bytes
    },
    expects: (bytes) => {
      told.bytesExpected += bytes
    },
  }
}
