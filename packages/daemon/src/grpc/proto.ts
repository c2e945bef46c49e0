// The .proto files as grpc-js wants them.

import { fileURLToPath } from 'node:url'
import type { ServiceDefinition } from '@grpc/grpc-js'
import { type PackageDefinition, loadSync } from '@grpc/proto-loader'

const folder = fileURLToPath(new URL('../../proto', import.meta.url))

function load(file: string): PackageDefinition {
  return loadSync(file, {
    includeDirs: [folder],
    keepCase: true,
    // Sizes: exact up to 2^53; what is over is refused where it comes in.
    longs: Number,
    defaults: true,
  })
}

export const managerFile = 'bimrpc/bimrpc.proto'
export const managerServiceName = 'bimrpc.BackingImageManagerService'
export const managerPackage: PackageDefinition = load(managerFile)
export const managerService = managerPackage[managerServiceName] as ServiceDefinition
export const syncAgentService = load('ptypes/syncagent.proto')[
  'ptypes.SyncAgentService'
] as ServiceDefinition
