// A disk behind a guard: every call may be left, and what that leaves in the kernel is looked after:
// a file that is opened too late is closed, and none is closed while a call on it is under way.

import { constants } from 'node:fs'
import { type Disk, type OpenFile, explained, nodeDisk } from './disk.ts'
import { Guard, type GuardOptions } from './guard.ts'
import type { Kind } from './slots.ts'

/** A file whose calls may still be in the kernel when their callers have been told otherwise. */
export interface GuardedFile extends OpenFile {
  /**
   * Undefined when no call on the file is in the kernel; else resolves when the last one has
   * returned. Until then it may still read or write its memory.
   */
  readonly returning: Promise<void> | undefined
}

export interface GuardedDisk extends Disk {
  open(path: string, flags: number, mode?: number): Promise<GuardedFile>
  /** Resolves when the disk is not known to hang; undefined at once when it is not. */
  readonly returning: Promise<void> | undefined
}

/** The file system around one folder, as a backend over it has it: the real one unless a test wants another. */
export function openDisk(
  root: string,
  options?: GuardOptions,
  below: Disk = nodeDisk,
): GuardedDisk {
  const disk = explained(below)
  return guarded(disk, new Guard(disk, root, options))
}

/** `disk` behind `guard`. */
export function guarded(disk: Disk, guard: Guard): GuardedDisk {
  const run = <T>(kind: Kind, verb: string, path: string, work: () => Promise<T>): Promise<T> =>
    guard.run(kind, { verb, path }, work)
  return {
    get returning() {
      return guard.outage && guard.usable()
    },
    open: async (path, flags, mode) =>
      new File(
        guard,
        path,
        await guard.run(
          (flags & constants.O_CREAT) === 0 ? 'look' : 'change',
          { verb: 'open', path },
          () => disk.open(path, flags, mode),
          (late) => void new File(guard, path, late).close().catch(() => {}),
        ),
      ),
    link: (from, path) => run('change', 'link', path, () => disk.link(from, path)),
    rename: (from, path) => run('change', 'rename to', path, () => disk.rename(from, path)),
    unlink: (path) => run('change', 'unlink', path, () => disk.unlink(path)),
    mkdir: (path, mode) => run('change', 'mkdir', path, () => disk.mkdir(path, mode)),
    rmdir: (path) => run('change', 'rmdir', path, () => disk.rmdir(path)),
    readdir: (path) => run('look', 'readdir', path, () => disk.readdir(path)),
    lstat: (path) => run('look', 'lstat', path, () => disk.lstat(path)),
    statfs: (path) => run('look', 'statfs', path, () => disk.statfs(path)),
  }
}

class File implements GuardedFile {
  readonly fd: number
  readonly #guard: Guard
  readonly #path: string
  readonly #file: OpenFile
  #calls = 0
  #idle: { promise: Promise<void>; resolve: () => void } | undefined

  constructor(guard: Guard, path: string, file: OpenFile) {
    this.fd = file.fd
    this.#guard = guard
    this.#path = path
    this.#file = file
  }

  get returning(): Promise<void> | undefined {
    if (this.#calls === 0) return undefined
    if (!this.#idle) {
      let resolve = (): void => {}
      this.#idle = { promise: new Promise((done) => (resolve = done)), resolve: () => resolve() }
    }
    return this.#idle.promise
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#run('read', 'read', () => this.#file.read(into, position))
  }

  write(from: Uint8Array, position: number): Promise<number> {
    return this.#run('write', 'write', () => this.#file.write(from, position))
  }

  truncate(length: number): Promise<void> {
    return this.#run('write', 'truncate', () => this.#file.truncate(length))
  }

  datasync(): Promise<void> {
    return this.#run('write', 'fdatasync', () => this.#file.datasync())
  }

  sync(): Promise<void> {
    return this.#run('write', 'fsync', () => this.#file.sync())
  }

  stat(): ReturnType<OpenFile['stat']> {
    return this.#run('look', 'fstat', () => this.#file.stat())
  }

  /**
   * What can not be closed now, because a call on it hangs, or the disk does, is closed as soon as
   * that is over, whatever the caller is told.
   */
  async close(): Promise<void> {
    if (this.#calls > 0) {
      void this.#closeLater()
      return
    }
    const { hasBegun, failure } = await this.#tryToClose()
    if (!hasBegun) void this.#closeLater()
    if (failure !== undefined) throw failure
  }

  async #closeLater(): Promise<void> {
    for (;;) {
      await this.returning
      await this.#guard.usable()
      // Also a close that fails has given the descriptor back.
      if ((await this.#tryToClose()).hasBegun) return
    }
  }

  /** Never rejects. */
  async #tryToClose(): Promise<{ hasBegun: boolean; failure?: unknown }> {
    let hasBegun = false
    try {
      await this.#guard.run('close', { verb: 'close', path: this.#path }, () => {
        hasBegun = true
        return this.#file.close()
      })
      return { hasBegun }
    } catch (failure) {
      return { hasBegun, failure }
    }
  }

  #run<T>(kind: Kind, verb: string, work: () => Promise<T>): Promise<T> {
    return this.#guard.run(kind, { verb, path: this.#path }, async () => {
      this.#calls += 1
      try {
        return await work()
      } finally {
        this.#calls -= 1
        if (this.#calls === 0) {
          this.#idle?.resolve()
          this.#idle = undefined
        }
      }
    })
  }
}
