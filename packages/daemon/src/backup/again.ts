// What a target did not do for a moment is asked for again: a backup of hours must outlive a store that
// starts anew.

import { setTimeout as pause } from 'node:timers/promises'
import { isImageError } from '@backing-image/core'

const pausesMs = [1_000, 5_000, 30_000]

/** Does `work` up to four times, as long as what goes wrong may go away by itself. */
export async function again<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (const pauseMs of pausesMs) {
    try {
      return await work()
    } catch (error) {
      if (!isImageError(error, 'unavailable', 'deadline_exceeded')) throw error
      signal.throwIfAborted()
      await pause(pauseMs, undefined, { signal }).catch(() => signal.throwIfAborted())
    }
  }
  return await work()
}
