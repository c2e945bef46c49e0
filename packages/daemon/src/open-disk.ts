// A disk with its file service, as both programs have it.

import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { openDisk } from '@backing-image/backend-local'
import { Hasher } from '@backing-image/core'
import { confined } from './confined.ts'
import { Disk } from './disk.ts'
import { readDiskUuid } from './disk-config.ts'
import { type Listening, startHttp } from './http.ts'
import type { CommonOptions } from './options.ts'
import { createSyncApp } from './sync-routes.ts'

export interface ServedDisk {
  disk: Disk
  diskUuid: string
  syncService: Listening
  close(): Promise<void>
}

/** Listens at `syncListen` when it resolves. `wantedUuid` is empty where any disk will do. */
export async function serveDisk(
  { diskPath, syncListen, fetcher, log }: CommonOptions,
  wantedUuid: string,
): Promise<ServedDisk> {
  const root = resolve(diskPath)
  const diskUuid = await readDiskUuid(root, wantedUuid)
  for (const folder of ['backing-images', 'tmp']) {
    await mkdir(join(root, folder), { recursive: true })
  }
  const hasher = new Hasher()
  const disk = new Disk({
    place: { root, disk: confined(openDisk(root), root), hasher },
    log,
    fetcher,
  })
  try {
    const syncService = await startHttp(createSyncApp(disk), syncListen, log)
    log.info({ disk: root, diskUuid, port: syncService.port }, 'the file service listens')
    return {
      disk,
      diskUuid,
      syncService,
      close: async () => {
        await syncService.close()
        await disk.close()
        await hasher.close()
      },
    }
  } catch (error) {
    await hasher.close()
    throw error
  }
}
