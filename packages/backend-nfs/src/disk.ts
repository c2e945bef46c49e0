// The calls of the file system as they have to be made on NFS, whose client answers from memory and may
// have done what it says has failed.

import { errnoOf } from '@backing-image/backend-local'
import { constants } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Disk, OpenFile } from '@backing-image/backend-local'
import { Names, type NamesOptions, missing, silly, sillyWaitsMs } from './names.ts'
import type { Trash } from './trash.ts'

const { O_CREAT, O_DIRECT } = constants
/** The name of the bytes of an image, which are what clients read for long. */
const imageName = 'backing'

export interface NfsDiskOptions extends NamesOptions {
  trash: Trash
}

/** A Disk for LocalBackend. */
export function nfsDisk(options: NfsDiskOptions): Disk {
  const names = new Names(options)
  const { disk, root, trash } = options
  const ask: Names['ask'] = (...question) => names.ask(...question)
  const change: typeof ask = (verb, path, doubts, call) =>
    ask(verb, path, doubts, () => names.changing(path, call))
  return {
    open: (path, flags, mode) => open(options, names, path, flags, mode),
    // A name that is there by an old answer is refused without asking the server.
    link: (from, to) => change('link', to, ['EEXIST', ...missing], () => disk.link(from, to)),
    mkdir: (path, mode) =>
      change('mkdir', path, ['EEXIST', ...missing], () => disk.mkdir(path, mode)),
    rename: (from, to) => change('rename to', to, missing, () => move(disk, from, to)),
    unlink: (path) =>
      change('unlink', path, missing, () =>
        basename(path) === imageName ? trash.take(path) : disk.unlink(path),
      ),
    rmdir: (path) => change('rmdir', path, missing, () => removeFolder(disk, path)),
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
    if (errnoOf(error) !== 'ENOENT') throw error
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
      if (errnoOf(error) !== 'ENOTEMPTY') throw error
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
