// The calls of the file system as they have to be made on NFS, whose client answers from memory: what
// it says is not there, or is there, may have been so some seconds ago.

import { constants } from 'node:fs'
import { basename, dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Disk, OpenFile } from '@backing-image/backend-local'
import { type Place, codeOf, told } from './failure.ts'
import type { Trash } from './trash.ts'

const { O_CREAT, O_DIRECT, O_DIRECTORY, O_RDONLY } = constants
/** The name of the bytes of an image, which are what clients read for long. */
const imageName = 'backing'
const silly = /^\.nfs[0-9a-f]+$/
const sillyWaitsMs = [20, 50, 100, 200, 400]

export interface NfsDiskOptions {
  /** The calls as they are. */
  disk: Disk
  /** Of the store: nothing above it is looked at. */
  root: string
  place: Place
  trash: Trash
  /** Rejects when `device` is not that of the store: its mount has gone. */
  check: (device: bigint) => Promise<void>
}

/** A Disk for LocalBackend. */
export function nfsDisk({ disk, root, place, trash, check }: NfsDiskOptions): Disk {
  /**
   * Opening a folder makes the client ask for it (nfs(5), "Close-to-open cache consistency"), and what
   * it remembers of the names in a folder that has changed is forgotten. A stat alone would not.
   */
  const refresh = async (path: string): Promise<void> => {
    if (path === root) return
    const parent = dirname(path)
    let folder: OpenFile
    try {
      folder = await disk.open(parent, O_RDONLY | O_DIRECTORY)
    } catch (error) {
      if (!isMissing(error) || parent === root) throw error
      // The folder may be one of the things that are not what they were.
      await refresh(parent)
      try {
        folder = await disk.open(parent, O_RDONLY | O_DIRECTORY)
      } catch (again) {
        if (isMissing(again)) return
        throw again
      }
    }
    try {
      await check((await folder.stat()).dev)
    } finally {
      await folder.close()
    }
  }

  const tell = async <T>(verb: string, path: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw told(error, `${verb} ${path}`, place)
    }
  }

  /** Asks again after a fresh look, where the first answer may be an old one. */
  const ask = <T>(verb: string, path: string, doubts: string[], call: () => Promise<T>) =>
    tell(verb, path, async () => {
      try {
        return await call()
      } catch (error) {
        if (!doubts.includes(codeOf(error) ?? '')) throw error
        await refresh(path)
        return await call()
      }
    })

  const removeFolder = async (path: string): Promise<void> => {
    for (const waitMs of sillyWaitsMs) {
      try {
        return await disk.rmdir(path)
      } catch (error) {
        if (codeOf(error) !== 'ENOTEMPTY') throw error
        // What this process has open keeps such a name for the moment (nfs(5) calls it silly).
        const names = (await disk.readdir(path)).map((entry) => entry.name)
        if (!names.every((name) => silly.test(name))) throw error
        await delay(waitMs)
      }
    }
    await disk.rmdir(path)
  }

  const create = async (path: string, flags: number, mode?: number): Promise<OpenFile> => {
    const file = await disk.open(path, flags, mode)
    try {
      // An ordinary folder under a mount that has gone would be filled instead.
      await check((await file.stat()).dev)
      return file
    } catch (error) {
      await file.close()
      await disk.unlink(path)
      throw error
    }
  }

  return {
    open: async (path, flags, mode) => {
      // Each direct write would wait for the server's medium; the cache sends many at once.
      if ((flags & O_DIRECT) !== 0) throw Object.assign(new Error('not direct'), { code: 'EINVAL' })
      const file =
        (flags & O_CREAT) === 0
          ? await ask('open', path, missing, () => disk.open(path, flags, mode))
          : await tell('open', path, () => create(path, flags, mode))
      return toldFile(file, (verb, work) => tell(verb, path, work))
    },
    // A name that is there by an old answer is refused without asking the server.
    link: (from, to) => ask('link', to, ['EEXIST', 'ESTALE'], () => disk.link(from, to)),
    mkdir: (path, mode) => ask('mkdir', path, ['EEXIST', 'ESTALE'], () => disk.mkdir(path, mode)),
    rename: (from, to) => ask('rename to', to, ['ESTALE'], () => disk.rename(from, to)),
    unlink: (path) =>
      ask('unlink', path, missing, () =>
        basename(path) === imageName ? trash.take(path) : disk.unlink(path),
      ),
    rmdir: (path) => ask('rmdir', path, missing, () => removeFolder(path)),
    readdir: (path) => ask('readdir', path, missing, () => disk.readdir(path)),
    lstat: (path) =>
      tell('lstat', path, async () => {
        await refresh(path)
        return await ask('lstat', path, ['ESTALE'], () => disk.lstat(path))
      }),
    statfs: (path) => ask('statfs', path, ['ESTALE'], () => disk.statfs(path)),
  }
}

const missing = ['ENOENT', 'ENOTDIR', 'ESTALE']

function isMissing(error: unknown): boolean {
  return missing.includes(codeOf(error) ?? '')
}

function toldFile(
  file: OpenFile,
  tell: <T>(verb: string, work: () => Promise<T>) => Promise<T>,
): OpenFile {
  return {
    fd: file.fd,
    read: (into, position) => tell('read', () => file.read(into, position)),
    write: (from, position) => tell('write', () => file.write(from, position)),
    truncate: (length) => tell('truncate', () => file.truncate(length)),
    datasync: () => tell('fdatasync', () => file.datasync()),
    sync: () => tell('fsync', () => file.sync()),
    stat: () => tell('fstat', () => file.stat()),
    close: () => tell('close', () => file.close()),
  }
}
