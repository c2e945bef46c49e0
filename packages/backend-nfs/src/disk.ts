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
const staleAttemptsMax = 10
const silly = /^\.nfs[0-9a-f]+$/
const sillyWaitsMs = [20, 50, 100, 200, 400]

export interface NfsDiskOptions {
  /** The calls as they are. */
  disk: Disk
  /** Of the store: nothing above it is looked at. */
  root: string
  place: Place
  trash: Trash
  /** Rejects when `device` is not that of the store, or undefined: its mount has gone. */
  check: (device: bigint | undefined) => Promise<void>
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
    let state = await look(parent)
    if (state !== 'there' && parent !== root) {
      // The folder may itself be one of the things that are not what they were.
      await refresh(parent)
      state = await look(parent)
    }
    if (state !== 'there' && parent === root) await check(undefined)
  }

  const look = async (path: string): Promise<'there' | 'removed'> => {
    try {
      const folder = await disk.open(path, O_RDONLY | O_DIRECTORY)
      try {
        const { dev, nlink } = await folder.stat()
        await check(dev)
        // Servers still answer for a folder that is removed, while another of its name is there.
        return nlink === 0n ? 'removed' : 'there'
      } finally {
        await folder.close()
      }
    } catch (error) {
      if (isMissing(error)) return 'removed'
      throw error
    }
  }

  const tell = async <T>(verb: string, path: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (error) {
      throw told(error, `${verb} ${path}`, place)
    }
  }

  /** Asks again after a fresh look, where the answer may be an old one. */
  const ask = <T>(verb: string, path: string, doubts: string[], call: () => Promise<T>) =>
    tell(verb, path, async () => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await call()
        } catch (error) {
          const code = codeOf(error) ?? ''
          // What is stale was there a moment ago, and is gone or another by now.
          const attemptsMax = code === 'ESTALE' ? staleAttemptsMax : 2
          if (!doubts.includes(code) || attempt >= attemptsMax) throw error
          await refresh(path)
        }
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

  const isSilly = async (folder: string): Promise<boolean> => {
    try {
      return (await disk.readdir(folder)).some(({ name }) => silly.test(name))
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  /**
   * Where the client has a file open that a rename replaces, it first moves that one out of the way:
   * for a moment there is neither. The name that it gives it tells.
   */
  const settled = async <T>(path: string, call: () => Promise<T>): Promise<T> => {
    for (const waitMs of [0, ...sillyWaitsMs]) {
      try {
        return await call()
      } catch (error) {
        if (codeOf(error) !== 'ENOENT' || path === root) throw error
        if (!(await isSilly(dirname(path)))) return await call()
        await delay(waitMs)
      }
    }
    return await call()
  }

  /** Opens what is there now: the client may at first open what it remembers, and was replaced. */
  const reopen = async (path: string, flags: number): Promise<OpenFile> => {
    const file = await disk.open(path, flags)
    try {
      await file.stat()
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /**
   * When the server says "not there" of the new folder, Linux's client believes that of the old name
   * (nfs_rename in fs/nfs/dir.c), and says so until the folder changes. Only what is to be made is
   * asked of the server itself; that it is there already sets the client right.
   */
  const move = async (from: string, to: string): Promise<void> => {
    try {
      await disk.rename(from, to)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
      const isMade = await disk.mkdir(from, 0o700).then(
        () => true,
        () => false,
      )
      if (isMade) await disk.rmdir(from)
      throw error
    }
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
          ? await ask('open', path, missing, () => settled(path, () => reopen(path, flags)))
          : await tell('open', path, () => create(path, flags, mode))
      return toldFile(file, (verb, work) => tell(verb, path, work))
    },
    // A name that is there by an old answer is refused without asking the server.
    link: (from, to) => ask('link', to, ['EEXIST', ...missing], () => disk.link(from, to)),
    mkdir: (path, mode) => ask('mkdir', path, ['EEXIST', ...missing], () => disk.mkdir(path, mode)),
    rename: (from, to) => ask('rename to', to, missing, () => move(from, to)),
    unlink: (path) =>
      ask('unlink', path, missing, () =>
        basename(path) === imageName ? trash.take(path) : disk.unlink(path),
      ),
    rmdir: (path) => ask('rmdir', path, missing, () => removeFolder(path)),
    readdir: (path) => ask('readdir', path, missing, () => disk.readdir(path)),
    lstat: (path) =>
      tell('lstat', path, async () => {
        await refresh(path)
        return await ask('lstat', path, ['ESTALE'], () => settled(path, () => disk.lstat(path)))
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
