// A file that a data source has made becomes one of the images, by its name alone: not a byte is copied,
// and none is hashed where the source has said what it is (contract §2.6, action fetch).

import type { BigIntStats } from 'node:fs'
import { dirname } from 'node:path'
import { makeParents, readFlags, readObject, syncUpwards } from '@backing-image/backend-local'
import { ImageError } from '@backing-image/core'
import { type Arrival, type Place, sha512Of } from './arrival.ts'
import { modificationTimeOf, readConfig } from './config-file.ts'
import { assertNoGateway } from './gateway-files.ts'
import type { ManagedFile } from './managed-file.ts'
import { shapeOf } from './shape.ts'

/** Rejects where there is no such file, and when it changes meanwhile; then it stays where it is. */
export async function takeOver(place: Place, file: ManagedFile, from: string): Promise<Arrival> {
  const { disk, hasher, root } = place
  await assertNoGateway(disk, dirname(from))
  const stats = await durableStats(place, from)
  const size = Number(stats.size)
  file.advance(size)
  const shape = await shapeOf(disk, from)
  const config = await readConfig(disk, from)
  let sha512 = config?.currentChecksum ?? ''
  if (config?.modificationTime !== modificationTimeOf(stats)) {
    const { signal } = file
    sha512 = await sha512Of(
      hasher,
      await readObject(disk, from, from, { lend: true, signal }),
      signal,
    )
  }
  const temporary = {
    seal: async () => stats,
    commit: async (_: string, final: string, { signal }: { signal: AbortSignal | undefined }) => {
      signal?.throwIfAborted()
      const now = await disk.lstat(from)
      if (modificationTimeOf(now) !== modificationTimeOf(stats)) {
        throw new ImageError('aborted', `${from} was modified while it was taken over`)
      }
      await makeParents(disk, root, final)
      await disk.rename(from, final)
      await syncUpwards(disk, root, dirname(final))
      await syncUpwards(disk, root, dirname(from))
      return now
    },
    discard: async () => {},
  }
  return { temporary, size, sha512, shape }
}

/** Who wrote it may not have synced it. */
async function durableStats({ disk }: Place, path: string): Promise<BigIntStats> {
  const file = await disk.open(path, readFlags)
  try {
    await file.sync()
    const stats = await file.stat()
    if (stats.isFile()) return stats
  } finally {
    await file.close()
  }
  throw new ImageError(
    'failed_precondition',
    `the src file ${path} of the fetch call should not be dir`,
  )
}
