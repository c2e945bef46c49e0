// A guard with little patience before a disk that a test lets hang.

import { setTimeout as pause } from 'node:timers/promises'
import { ImageError } from '@backing-image/core'
import { explained } from '../disk.ts'
import { Guard, type GuardOptions } from '../guard.ts'
import { type GuardedDisk, guarded } from '../guarded.ts'
import { withFolder } from './folder.ts'
import { HangingDisk } from './hanging.ts'

/** Calls have time; a disk that does not answer is found out at once. */
export const times: GuardOptions = {
  slots: 4,
  suspectAfterMs: 40,
  probeTimeoutMs: 60,
  retryAfterMs: 20,
  readTimeoutMs: 60_000,
  writeTimeoutMs: 60_000,
}

export interface Subject {
  root: string
  hanging: HangingDisk
  guard: Guard
  disk: GuardedDisk
}

/** A test with a folder, a disk and a guard of its own. */
export function withGuard(
  options: GuardOptions,
  test: (subject: Subject) => Promise<void>,
): () => Promise<void> {
  return () =>
    withFolder(async (root) => {
      const hanging = new HangingDisk()
      const below = explained(hanging.disk)
      const guard = new Guard(below, root, { ...times, ...options })
      try {
        await test({ root, hanging, guard, disk: guarded(below, guard) })
      } finally {
        hanging.release()
      }
    })
}

/** What the work fails with, which has to be an ImageError. */
export async function failure(work: Promise<unknown>): Promise<ImageError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof ImageError)) throw new Error(`It should have failed: ${String(error)}`)
  return error
}

/** Waits for what comes about by itself. */
export async function eventually(
  what: string,
  check: () => boolean | Promise<boolean>,
): Promise<void> {
  const endsAtMs = performance.now() + 20_000
  while (!(await check())) {
    if (performance.now() > endsAtMs) throw new Error(`It has not come about: ${what}`)
    await pause(2)
  }
}
