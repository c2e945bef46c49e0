// A gRPC server over files in memory, for tests.

import type { ImageBackups } from '../grpc/backups.ts'
import { DaemonClient } from '../grpc/client.ts'
import { type GrpcOptions, type RunningGrpc, startGrpc } from '../grpc/server.ts'
import { formatAddress } from '../address.ts'
import { Lines, MemoryFiles } from './memory-files.ts'

export interface DaemonHere {
  server: RunningGrpc
  /** host:port. */
  address: string
  client: DaemonClient
  files: MemoryFiles
  log: Lines
}

const noBackups: ImageBackups = {
  create: () => Promise.reject(new Error('There are no backups here.')),
  status: () => {
    throw new Error('There are no backups here.')
  },
}

/** On a free port of this machine. */
export async function startDaemonHere(options: Partial<GrpcOptions> = {}): Promise<DaemonHere> {
  const files = new MemoryFiles()
  const log = new Lines()
  const server = await startGrpc({
    listen: { host: '127.0.0.1', port: 0 },
    files,
    backups: noBackups,
    diskPath: '/no-disk/',
    diskUuid: 'disk',
    podIp: '127.0.0.1',
    syncPort: 8001,
    portRange: { first: 30_001, last: 30_002 },
    build: { version: '1.2.3', gitCommit: 'commit', buildDate: 'date' },
    log,
    watchIntervalMs: 20,
    ...options,
  })
  const address = formatAddress(server.address)
  return { server, address, client: new DaemonClient(address), files, log }
}
