// The few calls of the file system that this package uses. Every one goes through a Disk, so that a
// test can record, reorder, hang or fail the n-th of them; and every failure gets its kind here.

import fs from 'node:fs'
import { constants as osConstants } from 'node:os'
import { ImageError } from '@backing-image/core'

/** An open file or folder. */
export interface OpenFile {
  /** The descriptor, for paths through /proc/self/fd. */
  readonly fd: number
  /** Reads at most `into.length` bytes from `position` on; 0 at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>
  /** Writes at `position`; may write less than `from` and resolves to how much it wrote. */
  write(from: Uint8Array, position: number): Promise<number>
  truncate(length: number): Promise<void>
  /** Content and length reach the medium (fdatasync). */
  datasync(): Promise<void>
  /** Everything does; of a folder: its entries (fsync). */
  sync(): Promise<void>
  stat(): Promise<fs.BigIntStats>
  close(): Promise<void>
}

/** A file system. Every call may reject with a Node error that has a `code` such as ENOENT. */
export interface Disk {
  open(path: string, flags: number, mode?: number): Promise<OpenFile>
  link(existing: string, name: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  mkdir(path: string, mode: number): Promise<void>
  rmdir(path: string): Promise<void>
  readdir(path: string): Promise<fs.Dirent[]>
  lstat(path: string): Promise<fs.BigIntStats>
  statfs(path: string): Promise<FreeBlocks>
}

/** What is free and what there is, in blocks of `bsize` bytes; `bavail` leaves root's share out. */
export interface FreeBlocks {
  bsize: number
  blocks: number
  bavail: number
}

type Done = (error: NodeJS.ErrnoException | null) => void

// Plain callbacks: FileHandle of fs.promises costs about three times as much for each call.
function call(start: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(error) : resolve()))
  })
}

function ask<T>(start: (done: (error: NodeJS.ErrnoException | null, value: T) => void) => void) {
  return new Promise<T>((resolve, reject) => {
    start((error, value) => (error ? reject(error) : resolve(value)))
  })
}

class NodeFile implements OpenFile {
  readonly fd: number

  constructor(fd: number) {
    this.fd = fd
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return ask((done) => fs.read(this.fd, into, 0, into.length, position, done))
  }

  write(from: Uint8Array, position: number): Promise<number> {
    return ask((done) => fs.write(this.fd, from, 0, from.length, position, done))
  }

  truncate(length: number): Promise<void> {
    return call((done) => fs.ftruncate(this.fd, length, done))
  }

  datasync(): Promise<void> {
    return call((done) => fs.fdatasync(this.fd, done))
  }

  sync(): Promise<void> {
    return call((done) => fs.fsync(this.fd, done))
  }

  stat(): Promise<fs.BigIntStats> {
    return ask((done) => fs.fstat(this.fd, { bigint: true }, done))
  }

  close(): Promise<void> {
    return call((done) => fs.close(this.fd, done))
  }
}

/** The real file system. */
export const nodeDisk: Disk = {
  async open(path, flags, mode) {
    return new NodeFile(await ask<number>((done) => fs.open(path, flags, mode, done)))
  },
  link: (existing, name) => call((done) => fs.link(existing, name, done)),
  rename: (from, to) => call((done) => fs.rename(from, to, done)),
  unlink: (path) => call((done) => fs.unlink(path, done)),
  mkdir: (path, mode) => call((done) => fs.mkdir(path, mode, done)),
  rmdir: (path) => call((done) => fs.rmdir(path, done)),
  readdir: (path) => ask((done) => fs.readdir(path, { withFileTypes: true }, done)),
  lstat: (path) => ask((done) => fs.lstat(path, { bigint: true }, done)),
  statfs: (path) => ask((done) => fs.statfs(path, done)),
}

/** ESTALE, EDQUOT and others have no name in Node.js's own errors. */
const names = new Map(Object.entries(osConstants.errno).map(([name, number]) => [number, name]))

/** The code of a failed call (ENOENT, EIO, …); undefined for any other error. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof ImageError) return errnoOf(error.cause)
  if (!(error instanceof Error)) return undefined
  const { code, errno }: NodeJS.ErrnoException = error
  if (code !== undefined && /^E[A-Z0-9]+$/.test(code)) return code
  return errno !== undefined ? (names.get(-errno) ?? `E${-errno}`) : undefined
}

/**
 * The ImageError for a failed call, by its code alone. `what` says what was tried, on which path.
 * What is no failure of a call comes back untouched.
 */
export function translate(error: unknown, what: string): unknown {
  const errno = errnoOf(error)
  if (errno === undefined || error instanceof ImageError) return error
  const failed = `${what} failed with ${errno}`
  const cause = { cause: error }
  const down = { cause: error, reason: 'storage_unavailable' } as const
  switch (errno) {
    case 'ENOENT':
    case 'ENOTDIR':
    // O_NOFOLLOW met a symbolic link: somebody else's, so not there.
    case 'ELOOP':
      return new ImageError('not_found', `${failed}: it is not there.`, cause)
    case 'EEXIST':
      return new ImageError('already_exists', `${failed}: it is there already.`, cause)
    case 'EACCES':
    case 'EPERM':
    case 'EROFS': {
      const who = `user ${process.getuid?.() ?? '?'}`
      return new ImageError(
        'permission_denied',
        `${failed}: ${who} may not. Let ${who} read and write there, on a medium that is not read-only.`,
        down,
      )
    }
    case 'ENOSPC':
    case 'EDQUOT':
      return new ImageError(
        'resource_exhausted',
        `${failed}: the medium or the quota is full. Delete images or enlarge it.`,
        { cause: error, reason: 'no_space' },
      )
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
      return new ImageError(
        'resource_exhausted',
        `${failed}: this process or machine has run out of it. Raise the limit of open files or memory.`,
        down,
      )
    case 'EFBIG':
      return new ImageError('invalid_argument', `${failed}: too large for this file system.`, {
        cause: error,
        reason: 'too_large',
      })
    case 'ENAMETOOLONG':
    case 'EILSEQ':
    case 'EINVAL':
      return new ImageError('invalid_argument', `${failed}: this file system refuses it.`, cause)
    case 'EISDIR':
    case 'ENOTEMPTY':
    case 'EXDEV':
      return new ImageError(
        'failed_precondition',
        `${failed}: a foreign folder or mount is in the way. Move it elsewhere.`,
        cause,
      )
    default:
      // EIO, ESTALE, ETIMEDOUT and what we do not know: nobody can tell how it stands.
      return new ImageError(
        'unavailable',
        `${failed}. Look at the medium and its kernel log.`,
        down,
      )
  }
}

async function explain<T>(verb: string, path: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw translate(error, `${verb} ${path}`)
  }
}

/** The same disk, whose failures are ImageErrors with the call's own error as their cause. */
export function explained(disk: Disk): Disk {
  return {
    open: async (path, flags, mode) =>
      explainedFile(await explain('open', path, disk.open(path, flags, mode)), path),
    link: (existing, name) => explain('link', name, disk.link(existing, name)),
    rename: (from, to) => explain('rename to', to, disk.rename(from, to)),
    unlink: (path) => explain('unlink', path, disk.unlink(path)),
    mkdir: (path, mode) => explain('mkdir', path, disk.mkdir(path, mode)),
    rmdir: (path) => explain('rmdir', path, disk.rmdir(path)),
    readdir: (path) => explain('readdir', path, disk.readdir(path)),
    lstat: (path) => explain('lstat', path, disk.lstat(path)),
    statfs: (path) => explain('statfs', path, disk.statfs(path)),
  }
}

function explainedFile(file: OpenFile, path: string): OpenFile {
  return {
    fd: file.fd,
    read: (into, position) => explain('read', path, file.read(into, position)),
    write: (from, position) => explain('write', path, file.write(from, position)),
    truncate: (length) => explain('truncate', path, file.truncate(length)),
    datasync: () => explain('fdatasync', path, file.datasync()),
    sync: () => explain('fsync', path, file.sync()),
    stat: () => explain('fstat', path, file.stat()),
    close: () => explain('close', path, file.close()),
  }
}
