// What the interface asks of the backups of a disk. `Backups` does it.

import type { BackupOrder, BackupStatus } from '../backup/backup.ts'

export interface ImageBackups {
  /** Resolves when the backup runs. */
  create(order: BackupOrder): Promise<void>
  /** Of the newest backup of the image of this name. Throws `not_found`. */
  status(name: string): BackupStatus
}
