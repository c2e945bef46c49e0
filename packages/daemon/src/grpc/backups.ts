// What the interface asks of the backups of a disk. `Backups` does it.

import type { Values } from '../image-files.ts'

export interface BackupOrder {
  name: string
  uuid: string
  /** Of the image; absolute. */
  path: string
  /** SHA-512 in hex. */
  checksum: string
  /** The URL of the backup store. */
  target: string
  labels: Values
  /** Secrets; never logged. */
  credential: Values
  /** `none`, `gzip` or `lz4`. */
  compressionMethod: string
  /** Blocks at a time; 0 or less where nobody cares. */
  concurrentLimit: number
  parameters: Values
}

export interface BackupState {
  /** Whole percents. */
  progress: number
  /** Empty until it is known. */
  backupUrl: string
  error: string
  state: 'in_progress' | 'complete' | 'error'
}

export interface ImageBackups {
  /** Resolves when the backup runs. */
  create(order: BackupOrder): Promise<void>
  /** Of the image of this name. Rejects with `not_found`. */
  status(name: string): Promise<BackupState>
}
