// What is told of a file: the words and fields of Longhorn's REST interface (contract §2.2 and §4.1).

export type FileState =
  | 'pending'
  | 'starting'
  | 'in-progress'
  | 'ready'
  | 'failed'
  | 'unknown'
  | 'ready-for-transfer'

/** One file as `GET /v1/files` and `GET /v1/file` tell it; the order is that of the wire. */
export interface FileInfo {
  diskUUID: string
  /** SHA-512 as 128 lower-case hex digits, or empty. */
  expectedChecksum: string
  /** Absolute. */
  filePath: string
  uuid: string
  /** In bytes: as told, -1 while a download does not tell it; in the end as it is. */
  size: number
  /** The disk that a guest sees, in bytes; 0 until ready. */
  virtualSize: number
  /** What it takes on the disk, in bytes; 0 until ready. */
  realSize: number
  state: FileState
  /** Whole percents. */
  progress: number
  processedSize: number
  /** Go's text (contract §3.4); empty until ready. */
  modificationTime: string
  /** SHA-512; empty until ready. */
  currentChecksum: string
  /** What went wrong. */
  message: string
  /** How many are being sent a copy. */
  sendingReference: number
}
