// Proof of death: each process listens on a socket in its own folder under `.tmp`. On the kernel that
// it ran on, a socket that nobody listens to means that the process is gone; all else is a doubt.

import { randomBytes } from 'node:crypto'
import { constants, readFileSync } from 'node:fs'
import { type Server, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { isImageError } from '@backing-image/core'
import { type Disk, type OpenFile, errnoOf } from './disk.ts'

const ownerPattern = /^([0-9a-f]{8})-[0-9a-f]{8}$/
const socketName = 'alive'
const connectTimeoutMs = 1_000
const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants

/** Tells the running kernel from every other, this machine's last one included. */
function readBootId(): string | undefined {
  try {
    const text = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8)
    return /^[0-9a-f]{8}$/.test(text) ? text : undefined
  } catch {
    return undefined
  }
}

/** True for the name of a folder that an Owner made. */
export function isOwner(name: string): boolean {
  return ownerPattern.test(name)
}

/** This process among those that share one root. */
export class Owner {
  readonly id: string
  /** Its own folder, for temporary files. */
  readonly folder: string
  readonly #disk: Disk
  readonly #owners: string
  readonly #bootId: string | undefined
  #server: Server | undefined
  #handle: OpenFile | undefined
  #beginning: Promise<void> | undefined

  /** `owners` is the folder of all owners. Without `provesDeath` every question is a doubt. */
  constructor(disk: Disk, owners: string, provesDeath: boolean) {
    const bootId = readBootId()
    this.id = `${bootId ?? '00000000'}-${randomBytes(4).toString('hex')}`
    this.folder = join(owners, this.id)
    this.#disk = disk
    this.#owners = owners
    this.#bootId = provesDeath ? bootId : undefined
  }

  /** Makes the folder, and the socket in it, before any temporary file or claim names this owner. */
  begin(): Promise<void> {
    this.#beginning ??= this.#start().finally(() => {
      this.#beginning = undefined
    })
    return this.#beginning
  }

  async #start(): Promise<void> {
    await this.#make(this.#owners)
    // Already begun, perhaps for another put that missed the folder: who closed the socket now would
    // look dead for a moment.
    if (!(await this.#make(this.folder)) || this.#bootId === undefined) return
    await this.#stopListening()
    // Through /proc, because the path of a socket may have no more than 107 characters.
    this.#handle = await this.#disk.open(this.folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    // Under another name first: between bind and listen a socket looks like that of a dead process.
    const name = `${socketName}.new`
    this.#server = await listen(`/proc/self/fd/${this.#handle.fd}/${name}`)
    if (this.#server === undefined) {
      // A file system without sockets, or no /proc: nobody will be able to prove our death, and
      // what we leave behind waits for the end of its lease.
      await this.#stopListening()
      return
    }
    await this.#disk.rename(join(this.folder, name), join(this.folder, socketName))
  }

  /** False when the folder is there already. */
  async #make(folder: string): Promise<boolean> {
    try {
      await this.#disk.mkdir(folder, 0o755)
      return true
    } catch (error) {
      if (isImageError(error, 'already_exists')) return false
      throw error
    }
  }

  /** True only when it is certain that `owner` runs no more. */
  async isGone(owner: string): Promise<boolean> {
    const bootId = ownerPattern.exec(owner)?.[1]
    // Of another machine, or of this one before it was started again, nothing can be said.
    if (bootId === undefined || bootId !== this.#bootId || owner === this.id) return false
    try {
      // Where even our own folder is missing, the medium itself may be.
      await this.#disk.lstat(this.folder)
      const folder = join(this.#owners, owner)
      let handle: OpenFile
      try {
        handle = await this.#disk.open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
      } catch (error) {
        // Only its own end, or a sweep after its death, takes an owner's folder away.
        return errnoOf(error) === 'ENOENT'
      }
      try {
        // A file that is no socket refuses connections too.
        if (!(await this.#disk.lstat(join(folder, socketName))).isSocket()) return false
        return await refuses(`/proc/self/fd/${handle.fd}/${socketName}`)
      } finally {
        await handle.close()
      }
    } catch {
      return false
    }
  }

  /** Whether isGone can say yes at all. */
  get provesDeath(): boolean {
    return this.#bootId !== undefined
  }

  /** Removes the folder of an owner that is gone, with all that is in it and does not stay. */
  async sweep(owner: string, stays: (name: string) => boolean = () => false): Promise<void> {
    const folder = join(this.#owners, owner)
    const names = (await this.#disk.readdir(folder)).map((entry) => entry.name)
    const files = names.filter((name) => name !== socketName && !stays(name))
    for (const name of files) await ignoreAbsent(this.#disk.unlink(join(folder, name)))
    // A folder without a socket could never be proved dead again: it is the last to go.
    if (names.some(stays)) return
    await ignoreAbsent(this.#disk.unlink(join(folder, socketName)))
    await ignoreAbsent(this.#disk.rmdir(folder))
  }

  /**
   * Removes the folder of another if nothing is in it, where no socket stands for its process: should
   * that live, it makes the folder again.
   */
  async dropEmpty(owner: string): Promise<void> {
    try {
      await this.#disk.rmdir(join(this.#owners, owner))
    } catch (error) {
      if (!isImageError(error)) throw error
    }
  }

  /** Stops listening, and removes the folder when nothing unfinished is left in it. */
  async end(): Promise<void> {
    await this.#stopListening()
    try {
      const names = (await this.#disk.readdir(this.folder)).map((entry) => entry.name)
      // With files in it the dead socket stays too: it proves to the next process that they may go.
      if (names.every((name) => name === socketName)) await this.sweep(this.id)
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
    }
  }

  async #stopListening(): Promise<void> {
    const server = this.#server
    const handle = this.#handle
    this.#server = undefined
    this.#handle = undefined
    // The handle last: closing the server unlinks the name that it was bound to.
    if (server) await new Promise<void>((resolve) => server.close(() => resolve()))
    await handle?.close()
  }
}

async function ignoreAbsent(work: Promise<void>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!isImageError(error, 'not_found')) throw error
  }
}

/** Undefined when the path can not be bound. Does not keep the process alive. */
function listen(path: string): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy())
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    server.listen({ path, exclusive: true }, () => {
      // What fails later (no descriptor for a caller) must not end the process: it still listens.
      server.on('error', () => {})
      server.unref()
      resolve(server)
    })
  })
}

/** True when there is a socket to which nobody listens. A full queue or a silence is a doubt. */
function refuses(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const answer = (gone: boolean): void => {
      socket.destroy()
      resolve(gone)
    }
    socket.setTimeout(connectTimeoutMs, () => answer(false))
    socket.on('error', (error) => answer(errnoOf(error) === 'ECONNREFUSED'))
    socket.on('connect', () => answer(false))
  })
}
