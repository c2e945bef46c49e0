// The messages of bimrpc.proto, as proto-loader gives and takes them; the names are Longhorn's.

import type { FileInfo } from '../file-info.ts'
import type { Values } from '../image-files.ts'
import { nameOf } from '../paths.ts'

export interface ImageKey {
  name: string
  uuid: string
}

export interface Spec extends ImageKey {
  size: number
  /** Expected. */
  checksum: string
  virtualSize: number
  realSize: number
}

export interface Status {
  state: string
  error_msg: string
  sending_reference: number
  sender_manager_address: string
  progress: number
  /** Found. */
  checksum: string
}

/** Both are there in what we say; others may leave them out. */
export interface ImageResponse {
  spec: Spec | null
  status: Status | null
}

export interface ListResponse {
  backing_images: Record<string, ImageResponse>
}

export interface VersionResponse {
  version: string
  gitCommit: string
  buildDate: string
  backing_image_manager_api_version: number
  backing_image_manager_api_min_version: number
}

export interface SyncRequest {
  spec: Spec | null
  from_address: string
}

export interface SendRequest extends ImageKey {
  to_address: string
}

export interface FetchRequest {
  spec: Spec | null
  data_source_address: string
}

export interface PrepareDownloadResponse {
  src_file_path: string
  address: string
}

export interface BackupCreateRequest extends ImageKey {
  checksum: string
  backup_target: string
  labels: string[]
  credential: Values
  compression_method: string
  concurrent_limit: number
  parameters: Values
}

export interface BackupStatusResponse {
  progress: number
  backup_url: string
  error: string
  state: string
}

export interface VolumeExportRequest {
  snapshot_file_name: string
  host: string
  port: number
  export_backing_image_if_exist: boolean
  /** In seconds. */
  file_sync_http_client_timeout: number
}

/** One file, in the words of gRPC (contract §1.2). */
export function imageResponse(file: FileInfo): ImageResponse {
  return {
    spec: {
      name: nameOf(file.filePath, file.uuid),
      uuid: file.uuid,
      size: file.size,
      checksum: file.expectedChecksum,
      virtualSize: file.virtualSize,
      realSize: file.realSize,
    },
    status: {
      state: file.state,
      error_msg: file.message,
      sending_reference: file.sendingReference,
      sender_manager_address: '',
      progress: file.progress,
      checksum: file.currentChecksum,
    },
  }
}
