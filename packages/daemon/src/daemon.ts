// The program `daemon`: one disk, its file service over HTTP, and what Longhorn asks over gRPC (contract §0).

import { setTimeout as pause } from 'node:timers/promises'
import { Backups } from './backup/backup.ts'
import { type DiskImage, listDiskImages } from './disk-images.ts'
import { startGrpc } from './grpc/server.ts'
import { serveDisk } from './open-disk.ts'
import type { DaemonOptions, Running } from './options.ts'

/** Longhorn gives a pod half a minute. */
const closeTimeMs = 10_000

export interface RunningDaemon extends Running {
  /** What Longhorn has put on the disk. */
  images(): Promise<DiskImage[]>
}

/** Resolves when everything listens, gRPC last: Longhorn takes that for readiness. */
export async function startDaemon(options: DaemonOptions): Promise<RunningDaemon> {
  const { listen, portRange, podIp, build, log } = options
  const { disk, diskUuid, syncService, close } = await serveDisk(options, options.diskUuid)
  try {
    const backups = new Backups({ hasher: disk.place.hasher, log })
    const grpc = await startGrpc({
      backups,
      listen,
      files: disk,
      diskPath: disk.place.root,
      diskUuid,
      portRange,
      podIp,
      syncPort: syncService.port,
      build,
      log,
    })
    log.info({ address: grpc.address }, 'gRPC listens')
    const { place } = disk
    return {
      images: async () => await listDiskImages(place.disk, place.root),
      close: async () => {
        await grpc.close()
        // What is incomplete is withdrawn, as far as the target answers.
        await Promise.race([backups.close(), pause(closeTimeMs, undefined, { ref: false })])
        await close()
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}
