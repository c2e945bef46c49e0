// A disk that asks a hook before each call, so that a test can count, fail, delay or hang any.

import { type Disk, type OpenFile, nodeDisk } from '../disk.ts'

export interface Call {
  /** The name of the method: of Disk, or of OpenFile. */
  verb: keyof Disk | Exclude<keyof OpenFile, 'fd'>
  /** What the call is on; the new name of a link or rename. */
  path: string
}

/** Runs `proceed` and gives its result, or does something else. */
export type Hook = <T>(call: Call, proceed: () => Promise<T>) => Promise<T>

/** `disk` with `hook` around every call. */
export function hooked(hook: Hook, disk: Disk = nodeDisk): Disk {
  return {
    open: (path, flags, mode) =>
      hook({ verb: 'open', path }, async () =>
        hookedFile(hook, path, await disk.open(path, flags, mode)),
      ),
    link: (from, path) => hook({ verb: 'link', path }, () => disk.link(from, path)),
    rename: (from, path) => hook({ verb: 'rename', path }, () => disk.rename(from, path)),
    unlink: (path) => hook({ verb: 'unlink', path }, () => disk.unlink(path)),
    mkdir: (path, mode) => hook({ verb: 'mkdir', path }, () => disk.mkdir(path, mode)),
    rmdir: (path) => hook({ verb: 'rmdir', path }, () => disk.rmdir(path)),
    readdir: (path) => hook({ verb: 'readdir', path }, () => disk.readdir(path)),
    lstat: (path) => hook({ verb: 'lstat', path }, () => disk.lstat(path)),
    statfs: (path) => hook({ verb: 'statfs', path }, () => disk.statfs(path)),
  }
}

function hookedFile(hook: Hook, path: string, file: OpenFile): OpenFile {
  return {
    fd: file.fd,
    read: (into, at) => hook({ verb: 'read', path }, () => file.read(into, at)),
    write: (from, at) => hook({ verb: 'write', path }, () => file.write(from, at)),
    truncate: (length) => hook({ verb: 'truncate', path }, () => file.truncate(length)),
    datasync: () => hook({ verb: 'datasync', path }, () => file.datasync()),
    sync: () => hook({ verb: 'sync', path }, () => file.sync()),
    stat: () => hook({ verb: 'stat', path }, () => file.stat()),
    close: () => hook({ verb: 'close', path }, () => file.close()),
  }
}

/** `disk` whose files do some things in another way. */
export function withFiles(
  change: (file: OpenFile, path: string) => Partial<OpenFile>,
  disk: Disk = nodeDisk,
): Disk {
  return {
    ...disk,
    async open(path, flags, mode) {
      const file = await disk.open(path, flags, mode)
      return { ...hookedFile((_, proceed) => proceed(), path, file), ...change(file, path) }
    },
  }
}

/** `disk` that leaves out the syncs for which `skips` is true, and says that they succeeded. */
export function withoutSyncs(
  disk: Disk = nodeDisk,
  skips: (verb: 'sync' | 'datasync', path: string) => boolean = () => true,
): Disk {
  return withFiles((file, path) => {
    const sync = async (): Promise<void> => (skips('sync', path) ? undefined : file.sync())
    const datasync = async (): Promise<void> =>
      skips('datasync', path) ? undefined : file.datasync()
    return { sync, datasync }
  }, disk)
}

/** Something to wait for until the test lets it happen. */
export class Gate {
  readonly opened: Promise<void>
  open: () => void = () => {}

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve
    })
  }
}

/** What a failing call of the file system throws. */
export function errnoError(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code })
}

/** A disk on which calls fail on demand. */
export class FaultyDisk {
  /** Every call since the last `failAt`, in order. */
  calls: Call[] = []
  readonly disk: Disk
  #failing: ((call: Call, index: number) => string | undefined) | undefined

  constructor(disk: Disk = nodeDisk) {
    this.disk = hooked(async (call, proceed) => {
      this.calls.push(call)
      const code = this.#failing?.(call, this.calls.length - 1)
      if (code === undefined) return await proceed()
      // Linux gives the descriptor back, whatever close reports.
      if (call.verb === 'close') await proceed()
      throw errnoError(code)
    }, disk)
  }

  /** From now on a call fails with the code that `failing` gives for it; none without. */
  failWhen(failing?: (call: Call, index: number) => string | undefined): void {
    this.calls = []
    this.#failing = failing
  }

  /** The n-th call from now on, counted from 0, fails with `code`, and no other. */
  failAt(index: number, code: string): void {
    this.failWhen((_, at) => (at === index ? code : undefined))
  }
}
