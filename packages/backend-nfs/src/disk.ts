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
export function nfsDisk(options: NfsDiskOptions): Disk {
  const names = new Names(options)
  const { disk, root, trash } = options
  const ask: Names['ask'] = (...question) => names.ask(...question)
  return {
    open: (path, flags, mode) => open(options, names, path, flags, mode),
    // A name that is there by an old answer is refused without asking the server.
    link: (from, to) => ask('link', to, ['EEXIST', ...missing], () => disk.link(from, to)),
    mkdir: (path, mode) =>
      ask('mkdir', path, ['EEXIST', ...missing], () => disk.mkdir(path, mode)),
    rename: (from, to) => ask('rename to', to, missing, () => move(disk, from, to)),
    unlink: (path) =>
      ask('unlink', path, missing, () =>
        basename(path) === imageName ? trash.take(path) : disk.unlink(path),
      ),
    rmdir: (path) => ask('rmdir', path, missing, () => removeFolder(disk, path)),
    readdir: (path) =>
      ask('readdir', path, missing, async () => {
        // An empty folder under a mount that has gone is no empty store.
        if (path === root) await names.refresh(root)
        return await disk.readdir(path)
      }),
    lstat: (path) =>
      names.tell('lstat', path, async () => {
        await names.refresh(path)
        const stat = (): ReturnType<Disk['lstat']> => names.settled(path, () => disk.lstat(path))
        return await ask('lstat', path, ['ESTALE'], stat)
      }),
    statfs: (path) => ask('statfs', path, ['ESTALE'], () => disk.statfs(path)),
  }
}

/** What a client remembers of names, and how it is made to forget. */
class Names {
  readonly #disk: Disk
  readonly #root: string
  readonly #place: Place
  readonly #check: NfsDiskOptions['check']

  constructor({ disk, root, place, check }: NfsDiskOptions) {
    this.#disk = disk
    this.#root = root
    this.#place = place
    this.#check = check
  }

  /**
   * Opening a folder makes the client ask for it (nfs(5), "Close-to-open cache consistency"), and what
   * it remembers of the names in a folder that has changed is forgotten. A stat alone would not.
   */
  async refresh(path: string): Promise<void> {
    const parent = path === this.#root ? path : dirname(path)
    let isThere = await this.#isThere(parent)
    if (!isThere && parent !== this.#root) {
      // The folder may itself be one of the things that are not what they were.
      await this.refresh(parent)
      isThere = await this.#isThere(parent)
    }
    if (!isThere && parent === this.#root) await this.#check(undefined)
  }

  async #isThere(path: string): Promise<boolean> {
    try {
      const folder = await this.#disk.open(path, O_RDONLY | O_DIRECTORY)
      try {
        const { dev, nlink } = await folder.stat()
        await this.#check(dev)
        // Servers still answer for a folder that is removed, while another of its name is there.
        return nlink !== 0n
      } finally {
        await folder.close()
      }
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  async tell<T>(verb: string, path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw told(error, `${verb} ${path}`, this.#place)
    }
  }

  /** Asks again after a fresh look, where the answer may be an old one. */
  ask<T>(verb: string, path: string, doubts: string[], call: () => Promise<T>): Promise<T> {
    return this.tell(verb, path, async () => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await call()
        } catch (error) {
          const code = codeOf(error) ?? ''
          // What is stale was there a moment ago, and is gone or another by now.
          const attemptsMax = code === 'ESTALE' ? staleAttemptsMax : 2
          if (!doubts.includes(code) || attempt >= attemptsMax) throw error
          await this.refresh(path)
        }
      }
    })
  }

  /**
   * Where the client has a file open that a rename replaces, it first moves that one out of the way:
   * for a moment there is neither. The name that it gives it tells.
   */
  async settled<T>(path: string, call: () => Promise<T>): Promise<T> {
    for (const waitMs of sillyWaitsMs) {
      try {
        return await call()
      } catch (error) {
        if (codeOf(error) !== 'ENOENT' || path === this.#root) throw error
        if (!(await this.#isSilly(dirname(path)))) break
        await delay(waitMs)
      }
    }
    return await call()
  }

  async #isSilly(folder: string): Promise<boolean> {
    try {
      return (await this.#disk.readdir(folder)).some(({ name }) => silly.test(name))
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  }

  async check(device: bigint): Promise<void> {
    await this.#check(device)
  }
}

const missing = ['ENOENT', 'ENOTDIR', 'ESTALE']

function isMissing(error: unknown): boolean {
  return missing.includes(codeOf(error) ?? '')
}

async function open(
  { disk }: NfsDiskOptions,
  names: Names,
  path: string,
  flags: number,
  mode?: number,
): Promise<OpenFile> {
  // Each direct write would wait for the server's medium; the cache sends many at once.
  if ((flags & O_DIRECT) !== 0) throw Object.assign(new Error('not direct'), { code: 'EINVAL' })
  const isNew = (flags & O_CREAT) !== 0
  const file = isNew
    ? await names.tell('open', path, () => create(disk, names, path, flags, mode))
    : await names.ask('open', path, missing, () =>
        names.settled(path, () => openPresent(disk, path, flags)),
      )
  return toldFile(file, (verb, work) => names.tell(verb, path, work))
}

/** Opens what is there now: the client may at first open what it remembers, and was replaced. */
async function openPresent(disk: Disk, path: string, flags: number): Promise<OpenFile> {
  const file = await disk.open(path, flags)
  try {
    await file.stat()
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

async function create(
  disk: Disk,
  names: Names,
  path: string,
  flags: number,
  mode?: number,
): Promise<OpenFile> {
  const file = await disk.open(path, flags, mode)
  try {
    // An ordinary folder under a mount that has gone would be filled instead.
    await names.check((await file.stat()).dev)
    return file
  } catch (error) {
    await file.close()
    await disk.unlink(path)
    throw error
  }
}

/**
 * When the server says "not there" of the new folder, Linux's client believes that of the old name
 * (nfs_rename in fs/nfs/dir.c), and says so until the folder changes. Only what is to be made is asked
 * of the server itself; that it is there already sets the client right.
 */
async function move(disk: Disk, from: string, to: string): Promise<void> {
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

async function removeFolder(disk: Disk, path: string): Promise<void> {
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
