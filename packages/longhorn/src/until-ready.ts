// Waiting for Longhorn to have an image: as long as it goes on with it, and through outages of its API,
// but not for ever.

import { setTimeout as pause } from 'node:timers/promises'
import { ImageError } from '@backing-image/core'
import { LonghornError } from './failure.ts'
import { type LonghornImage, overallState } from './resource.ts'

export interface Patience {
  /** How soon Longhorn is asked again, in milliseconds; doubled each time until it is the most. */
  pollIntervalMs: { first: number; most: number }
  /** How long it may give no answer. */
  outageMaxMs: number
  /** How long it may tell nothing new of an image that is not ready. */
  stallMaxMs: number
}

export interface Waiting extends Patience {
  signal: AbortSignal
  /** Told once of each outage. */
  onTrouble: (error: Error) => void
  /** Told how far Longhorn is, whenever that has changed. */
  onNote?: ((text: string) => void) | undefined
}

export const usualPatience: Patience = {
  pollIntervalMs: { first: 200, most: 5000 },
  outageMaxMs: 60_000,
  stallMaxMs: 600_000,
}

const sha512Pattern = /^[0-9a-f]{128}$/
const wordsLengthMax = 1000

/**
 * Resolves when a copy is ready and has its checksum. Rejects with `failed_precondition`, in Longhorn's
 * words, when it has failed, is being deleted, or does not come on; with what `look` threw last when it
 * gives no answer for too long, and at once with what no second try would change.
 */
export async function untilReady(
  look: () => Promise<LonghornImage>,
  waiting: Waiting,
): Promise<LonghornImage> {
  const { signal, pollIntervalMs, stallMaxMs } = waiting
  const outage = new Outage(waiting)
  let changedAtMs = performance.now()
  let known = ''
  for (let polls = 0; ; polls += 1) {
    const image = await outage.passing(look)
    if (image) {
      if (isReady(image)) return image
      assertHope(image)
      const told = JSON.stringify(image)
      if (told !== known) {
        changedAtMs = performance.now()
        waiting.onNote?.(noteOf(image))
      }
      known = told
      if (performance.now() - changedAtMs > stallMaxMs) throw stalled(image, stallMaxMs)
    }
    const delayMs = Math.min(pollIntervalMs.most, pollIntervalMs.first * 2 ** polls)
    await pause(delayMs, undefined, { signal })
  }
}

/** Passes over a time without answers, up to a limit. */
class Outage {
  readonly #waiting: Waiting
  #sinceMs: number | undefined

  constructor(waiting: Waiting) {
    this.#waiting = waiting
  }

  async passing<T>(work: () => Promise<T>): Promise<T | undefined> {
    const { signal, onTrouble, outageMaxMs } = this.#waiting
    try {
      const found = await work()
      this.#sinceMs = undefined
      return found
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof LonghornError && error.isTransient)) throw error
      if (this.#sinceMs === undefined) onTrouble(error)
      this.#sinceMs ??= performance.now()
      if (performance.now() - this.#sinceMs > outageMaxMs) throw error
      return undefined
    }
  }
}

/** Without a checksum nobody could tell whether the bytes are right: it comes a moment later. */
function isReady(image: LonghornImage): boolean {
  return overallState(image) === 'ready' && sha512Pattern.test(image.currentChecksum)
}

function assertHope(image: LonghornImage): void {
  const state = overallState(image)
  if (state !== 'failed' && state !== 'deleting') return
  const what = state === 'failed' ? `has failed to make ${image.name}` : `is deleting ${image.name}`
  throw new ImageError('failed_precondition', `Longhorn ${what}${wordsOf(image)}.`)
}

function noteOf(image: LonghornImage): string {
  const percent = Math.max(0, ...Object.values(image.disks).map(({ progress }) => progress))
  return `Longhorn makes ${image.name}: ${overallState(image)}, ${percent} %.`
}

function stalled(image: LonghornImage, stallMaxMs: number): ImageError {
  return new ImageError(
    'failed_precondition',
    `Longhorn has told nothing new of ${image.name} for ${stallMaxMs / 1000} s; it is ` +
      `${overallState(image)}${wordsOf(image)}. See to it there, and ask for it again.`,
  )
}

/** What it says of the copies, each thing once. */
function wordsOf({ disks }: LonghornImage): string {
  const messages = Object.values(disks).map(({ message }) => message.trim().replace(/\.$/, ''))
  const said = [...new Set(messages)].filter((each) => each !== '').join('; ')
  return said === '' ? '' : `: ${said.slice(0, wordsLengthMax)}`
}
