// What the interfaces of a disk (REST, gRPC) ask of its files. `Files` does it.

import type { FileInfo } from './file-info.ts'

/** A new file: where it goes, and what is known of it. */
export interface Launch {
  /** Absolute, under the disk. */
  path: string
  uuid: string
  diskUuid: string
  /** SHA-512 in hex, or empty. */
  expectedChecksum: string
  /** In bytes; 0 or less where it is not known. */
  size: number
  dataEngine: string
}

/** Credentials and options of a source, by name. */
export type Values = Readonly<Record<string, string>>

/**
 * Every method that begins a file rejects with `already_exists` ("file PATH already exists") while one
 * of that path or uuid is known, also when that has failed; and resolves as soon as the work has begun.
 */
export interface ImageFiles {
  /** All that are known; a ready one whose file has changed is `unknown` from this answer on. */
  list(): Promise<FileInfo[]>
  /** Rejects with `not_found`. */
  get(path: string): Promise<FileInfo>
  /** Ends what goes on, and removes a known file with all that goes along; an unknown one is success. */
  remove(path: string): Promise<void>
  /** Ends what goes on, and leaves the file; an unknown one is success. */
  forget(path: string): Promise<void>
  /** Takes over a file that is on the disk: from `source`, or where it already is. */
  fetch(launch: Launch, source: string): Promise<void>
  /** Waits on `port` for one sender; see ssync/receiver.ts. Resolves when it may begin. */
  receive(launch: Launch, options: { port: number; fileType: string }): Promise<void>
  /** Begins to send a ready file to `host:port`; rejects when it may not be. */
  send(path: string, toAddress: string): Promise<void>
  /**
   * Ends a file that is neither ready nor failed as failed, with `reason` in its message; any other is
   * left as it is. For a copy that nobody will send: without it that takes the 60 s of contract §4.3.
   */
  fail(path: string, reason: string): Promise<void>
}

/** A file of which nothing is known but what was asked for. */
export function emptyInfo({ path, uuid, diskUuid, expectedChecksum, size }: Launch): FileInfo {
  return {
    diskUUID: diskUuid,
    expectedChecksum,
    filePath: path,
    uuid,
    size,
    virtualSize: 0,
    realSize: 0,
    state: 'pending',
    progress: 0,
    processedSize: 0,
    modificationTime: '',
    currentChecksum: '',
    message: '',
    sendingReference: 0,
  }
}
