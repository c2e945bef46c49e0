// For tests on a machine without NFS: an ordinary folder that mountinfo says is an export.

import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Code, isImageError } from '@backing-image/core'
import { type Disk, type OpenFile, nodeDisk } from '@backing-image/backend-local'
import * as assert from 'uvu/assert'
import { NfsBackend, type NfsOptions } from '../index.ts'

/** The text of mountinfo for a folder. */
export function mountsOf(folder: string, options = 'rw,vers=4.2,hard', type = 'nfs4'): string {
  return `22 1 254:1 / / rw - ext4 /dev/vda1 rw\n30 22 0:30 / ${folder} rw - ${type} nas:/images ${options}\n`
}

export interface Export {
  folder: string
  open: (options?: Partial<NfsOptions>) => Promise<NfsBackend>
}

/** Runs a test with what passes for a fresh export; backends that it opens are closed at its end. */
export async function withExport(test: (it: Export) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'backend-nfs-'))
  const opened: NfsBackend[] = []
  const open = async (options: Partial<NfsOptions> = {}): Promise<NfsBackend> => {
    const readMounts = (): Promise<string> => Promise.resolve(mountsOf(folder))
    const backend = await NfsBackend.open({ path: folder, readMounts, ...options })
    opened.push(backend)
    return backend
  }
  try {
    await test({ folder, open })
  } finally {
    for (const each of opened) await each.close()
    await rm(folder, { recursive: true })
  }
}

export async function refused(code: Code, work: Promise<unknown>): Promise<Error> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  assert.ok(isImageError(error, code), `expected ${code}, found ${String(error)}`)
  return error
}

/** An error of the kernel as Node.js gives it, for codes that it has no name for too. */
export function kernelError(errno: number, code = `Unknown system error -${errno}`): Error {
  return Object.assign(new Error(code), { errno: -errno, code })
}

type Verb = Exclude<keyof Disk, 'open'>

/** The real disk, with `before` called before each call on a path; it may throw. */
export function hookedDisk(before: (verb: keyof Disk | 'datasync', path: string) => void): Disk {
  const hook = <V extends Verb>(verb: V, at: number): Disk[V] =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    (async (...args: string[]) => {
      before(verb, args[at] ?? '')
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion
      return await (nodeDisk[verb] as (...all: string[]) => Promise<unknown>)(...args)
    }) as Disk[V]
  return {
    open: async (path, flags, mode) => {
      before('open', path)
      const file = await nodeDisk.open(path, flags, mode)
      const datasync = async (): Promise<void> => {
        before('datasync', path)
        await file.datasync()
      }
      return { ...callsOf(file), datasync }
    },
    link: hook('link', 1),
    rename: hook('rename', 1),
    unlink: hook('unlink', 0),
    mkdir: hook('mkdir', 0),
    rmdir: hook('rmdir', 0),
    readdir: hook('readdir', 0),
    lstat: hook('lstat', 0),
    statfs: hook('statfs', 0),
  }
}

/** An open file whose calls can be replaced one by one. */
export function callsOf(file: OpenFile): OpenFile {
  return {
    fd: file.fd,
    read: (into, position) => file.read(into, position),
    write: (from, position) => file.write(from, position),
    truncate: (length) => file.truncate(length),
    datasync: () => file.datasync(),
    sync: () => file.sync(),
    stat: () => file.stat(),
    close: () => file.close(),
  }
}

export async function namesIn(...parts: string[]): Promise<string[]> {
  return (await readdir(join(...parts))).toSorted()
}
