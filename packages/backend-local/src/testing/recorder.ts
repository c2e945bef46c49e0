// A disk that notes every change it makes and every sync, in order, so that crash.ts can tell what a
// power cut at any moment may leave on the medium.

import { constants } from 'node:fs'
import { basename, dirname } from 'node:path'
import { type Disk, type OpenFile, nodeDisk } from '../disk.ts'

/** One change, or one sync, or what the test noted. Inodes are numbers; 0 is the root. */
export type Step<Note> =
  | {
      is: 'name'
      folder: number
      name: string
      inode: number | undefined
      kind: Kind
      /** A rename in one folder is one change: this old name is gone only if that new one is there. */
      renamedTo?: string
    }
  | { is: 'write'; inode: number; position: number; data: Buffer }
  | { is: 'truncate'; inode: number; length: number }
  /** What was noted before step `upTo` of this file or folder is on the medium. */
  | { is: 'sync'; inode: number; upTo: number }
  /** What the test wants to know: which promises were made by then. */
  | { is: 'note'; note: Note }

export type Kind = 'file' | 'folder'

interface Inode {
  id: number
  kind: Kind
}

/** Records what is done under an empty folder. */
export class Recorder<Note> {
  readonly steps: Step<Note>[] = []
  readonly disk: Disk
  readonly #below: Disk
  readonly #inodes = new Map<string, Inode>()
  #count = 0
  #turn: Promise<unknown> = Promise.resolve()

  constructor(root: string, below: Disk = nodeDisk) {
    this.#below = below
    this.#inodes.set(root, { id: 0, kind: 'folder' })
    this.disk = {
      open: (path, flags, mode) => this.#open(path, flags, mode),
      link: (from, path) =>
        this.#change(
          () => below.link(from, path),
          () => this.#name(path, this.#inodes.get(from)),
        ),
      rename: (from, path) =>
        this.#change(
          () => below.rename(from, path),
          () => {
            this.#name(path, this.#inodes.get(from))
            this.#name(
              from,
              undefined,
              dirname(from) === dirname(path) ? basename(path) : undefined,
            )
          },
        ),
      unlink: (path) =>
        this.#change(
          () => below.unlink(path),
          () => this.#name(path, undefined),
        ),
      rmdir: (path) =>
        this.#change(
          () => below.rmdir(path),
          () => this.#name(path, undefined),
        ),
      mkdir: (path, mode) =>
        this.#change(
          () => below.mkdir(path, mode),
          () => this.#name(path, this.#make('folder')),
        ),
      readdir: (path) => below.readdir(path),
      lstat: (path) => below.lstat(path),
      statfs: (path) => below.statfs(path),
    }
  }

  /** Marks this moment: an operation begins, or is acknowledged. */
  note(note: Note): void {
    this.steps.push({ is: 'note', note })
  }

  /** One change of names at a time, so that the notes are in the order of what happened. */
  async #change<T>(work: () => Promise<T>, noted: () => void): Promise<T> {
    const run = this.#turn.then(async () => {
      const result = await work()
      noted()
      return result
    })
    this.#turn = run.catch(() => {})
    return await run
  }

  #make(kind: Kind): Inode {
    this.#count += 1
    return { id: this.#count, kind }
  }

  #name(path: string, inode: Inode | undefined, renamedTo?: string): void {
    const folder = this.#inodes.get(dirname(path))
    const before = this.#inodes.get(path)
    // A socket, or what lies outside.
    if (!folder || !(inode ?? before)) return
    const kind = (inode ?? before)?.kind ?? 'file'
    this.steps.push({
      is: 'name',
      folder: folder.id,
      name: basename(path),
      inode: inode?.id,
      kind,
      ...(renamedTo === undefined ? {} : { renamedTo }),
    })
    if (inode) this.#inodes.set(path, inode)
    else this.#inodes.delete(path)
  }

  async #open(path: string, flags: number, mode?: number): Promise<OpenFile> {
    const work = (): Promise<OpenFile> => this.#below.open(path, flags, mode)
    const isNew = (flags & constants.O_CREAT) !== 0
    if (isNew && (flags & constants.O_EXCL) === 0)
      throw new Error('only exclusive creation is known')
    const file = await this.#change(work, () => {
      if (isNew) this.#name(path, this.#make('file'))
    })
    const inode = this.#inodes.get(path)
    return inode ? this.#recorded(file, inode.id) : file
  }

  #recorded(file: OpenFile, inode: number): OpenFile {
    const sync = async (work: () => Promise<void>): Promise<void> => {
      // What is still under way when a sync begins is not promised by it.
      const upTo = this.steps.length
      await work()
      this.steps.push({ is: 'sync', inode, upTo })
    }
    return {
      fd: file.fd,
      read: (into, position) => file.read(into, position),
      write: async (from, position) => {
        const data = Buffer.from(from)
        const written = await file.write(from, position)
        this.steps.push({ is: 'write', inode, position, data: data.subarray(0, written) })
        return written
      },
      truncate: async (length) => {
        await file.truncate(length)
        this.steps.push({ is: 'truncate', inode, length })
      },
      datasync: () => sync(() => file.datasync()),
      sync: () => sync(() => file.sync()),
      stat: () => file.stat(),
      close: () => file.close(),
    }
  }
}
