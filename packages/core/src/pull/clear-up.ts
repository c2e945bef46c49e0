// What a source made elsewhere for a pull goes when that has ended; whoever goes on with a pull finds it
// as it was.

import type { Job, OwnJob } from '../claim.ts'
import { asError } from '../errors.ts'
import type { Rooms } from '../rooms.ts'
import type { Ended, Source, Sources } from './source.ts'

export interface Clearing extends Ended {
  source: Source | undefined
  /** Told of what could not be removed. */
  onTrouble: (error: Error) => void
}

/** The same, of work that this process owns. */
export type Clearance = Omit<Clearing, 'id' | 'signal'>

/** Rejects only when the signal aborts: then somebody else is to do it. */
export async function clearUp({ source, onTrouble, ...ended }: Clearing): Promise<void> {
  try {
    await source?.clearUp?.(ended)
  } catch (error) {
    ended.signal.throwIfAborted()
    onTrouble(asError(error))
  }
}

/** After work that failed or was cancelled; not where another has it, who needs what is there. */
export async function clearUpFailed(
  { jobs }: Rooms,
  own: OwnJob,
  clearance: Clearance,
): Promise<void> {
  if (!clearance.source?.clearUp) return
  const isOwned = await jobs.assertOwned(own).then(
    () => true,
    () => false,
  )
  // Who has lost touch with its storage leaves the work as it is.
  if (own.stopped === 'lost' || (!isOwned && own.stopped !== 'deleted')) return
  // Its own signal may have been what ended it.
  const { signal } = new AbortController()
  await clearUp({ ...clearance, id: own.claim.uuid, signal })
}

/** After work that is over, and was not this process's. Never rejects. */
export async function clearUpJob(
  { onProblem: onTrouble }: Rooms,
  sources: Sources,
  { uuid, claim }: Job,
): Promise<void> {
  const { sourceType, parameters } = claim.description
  const { signal } = new AbortController()
  await clearUp({ source: sources[sourceType], parameters, id: uuid, signal, onTrouble })
}
