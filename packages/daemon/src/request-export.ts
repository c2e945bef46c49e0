// Asks the replica of a volume for an export: its sync agent listens two ports further (contract §4.4).

import { formatAddress, parseAddress } from './address.ts'
import type { ExportOrder } from './data-source.ts'
import { exportVolume } from './grpc/client.ts'
import { ownAddress } from './grpc/own-address.ts'

const syncAgentPortOffset = 2

/** Resolves when the replica has sent everything; rejects where it can not be asked, or refuses. */
export async function requestExport({
  senderAddress,
  snapshotName,
  port,
  timeoutSeconds,
  podIp,
}: ExportOrder & { podIp: string }): Promise<void> {
  const replica = parseAddress(senderAddress.replace(/^tcp:\/\//, ''))
  await exportVolume(formatAddress({ ...replica, port: replica.port + syncAgentPortOffset }), {
    snapshot_file_name: snapshotName,
    host: ownAddress(podIp),
    port,
    export_backing_image_if_exist: true,
    file_sync_http_client_timeout: timeoutSeconds,
  })
}
