// What a scrub is made of: named steps, what each may use, and what it tells of the store.

import { hasOwners } from '../backend.ts'
import { asError, isImageError } from '../errors.ts'
import type { Hasher } from '../hasher.ts'
import type { Sources } from '../pull/source.ts'
import type { Rooms } from '../rooms.ts'
import type { Rate } from './rate.ts'

/** One thing that was found. */
export interface Finding {
  /** The step that found it. */
  step: string
  /** A fault is wrong; a note is worth knowing. */
  level: 'note' | 'fault'
  key?: string
  name?: string
  version?: string
  uuid?: string
  /** What was found, what is expected and what to do: a sentence or two. */
  what: string
  expected?: string
  actual?: string
  /** `none`: a scrub can not; `possible`: one with `repair` would. */
  repair?: 'none' | 'possible' | 'done' | 'failed'
}

/** What a step is given. */
export interface ScrubContext {
  rooms: Rooms
  /** Whether what is safe to repair is repaired; else nothing at all is changed. */
  repair: boolean
  signal: AbortSignal
  /** When the run began, by the store's own clock: ages are differences to it, and rather too small. */
  nowNs: bigint
  rate: Rate
  hasher: Hasher
  /** Where images may be fetched from once more. */
  sources: Sources
  /** Bytes that this run has read and found right, by key: the tag that they had before. */
  verified: Map<string, string>
  /** Counts what was looked at. Throws the signal's reason once the run is cancelled. */
  checked(objects: number, bytes?: number): void
  /** Tells how many bytes a step will read in all. */
  expects(bytes: number): void
}

export interface Step {
  /** One word, by which it can be asked for. */
  name: string
  /** What it looks for, for people. */
  what: string
  run(context: ScrubContext): AsyncIterable<Finding>
}

/** The finding after its repair, where that was asked for. What goes wrong with it is told there, too. */
export async function mended(
  { repair, signal }: Pick<ScrubContext, 'repair' | 'signal'>,
  finding: Finding,
  mend: () => Promise<void>,
): Promise<Finding> {
  if (!repair) return { ...finding, repair: 'possible' }
  try {
    signal.throwIfAborted()
    await mend()
    return { ...finding, repair: 'done' }
  } catch (error) {
    if (signal.aborted || !isImageError(error)) throw error
    return {
      ...finding,
      what: `${finding.what} The repair failed: ${asError(error).message}`,
      repair: 'failed',
    }
  }
}

const ageLeastNs = 3_600_000_000_000n

/**
 * Whether something can not be of work that still goes on: it is over an hour old, or its owner is
 * certainly dead. What is younger is at most worth a note.
 */
export async function isLeft(
  { nowNs, rooms }: Pick<ScrubContext, 'nowNs' | 'rooms'>,
  modifiedAt: bigint,
  owner?: string,
): Promise<boolean> {
  if (nowNs - modifiedAt > ageLeastNs) return true
  const { backend } = rooms
  return owner !== undefined && hasOwners(backend) && (await backend.isGone(owner))
}
