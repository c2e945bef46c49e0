// Backups in a folder: of this machine (vfs://), or of a mounted share.

import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { type GuardedDisk, makeParents, openDisk, syncUpwards } from '@backing-image/backend-local'
import { ImageError, isImageError, orUndefined } from '@backing-image/core'
import { type Found, type Target, lateError } from './target.ts'

const { O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_WRONLY } = constants
/** Others remove empty folders while we make them. */
const attemptsMax = 5
/** A share of another machine may take its time. */
const readTimeoutMs = 30_000

/** `vfs:///path`. */
export async function openFolder(url: URL): Promise<Target> {
  const path = decodeURIComponent(url.pathname)
  if (url.host !== '' || !path.startsWith('/')) {
    throw new ImageError('invalid_argument', 'VFS path must follow: vfs:///path/ format')
  }
  return await FolderTarget.open(path)
}

export class FolderTarget implements Target {
  readonly #root: string
  readonly #disk: GuardedDisk

  private constructor(root: string) {
    this.#root = resolve(root)
    this.#disk = openDisk(this.#root, { readTimeoutMs })
  }

  /** Rejects with `failed_precondition` where there is no such folder. */
  static async open(root: string): Promise<FolderTarget> {
    const target = new FolderTarget(root)
    try {
      const folder = await target.#disk.open(target.#root, O_RDONLY | O_DIRECTORY)
      await folder.close()
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw target.#late(error)
      const text = `The backup target ${target.#root} doesn't exist or is not a directory. Make it.`
      throw new ImageError('failed_precondition', text, { cause: error })
    }
    return target
  }

  async read(path: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
    return await this.#try(async () => {
      const file = await this.#disk.open(join(this.#root, path), O_RDONLY)
      try {
        const sizeBytes = Number((await file.stat()).size)
        if (sizeBytes > bytesMax) {
          const text = `${path} has ${sizeBytes} bytes, at most ${bytesMax} are expected.`
          throw new ImageError('data_loss', text)
        }
        const bytes = new Uint8Array(sizeBytes)
        let length = 0
        while (length < sizeBytes) {
          const count = await file.read(bytes.subarray(length), length)
          if (count === 0) break
          length += count
        }
        return bytes.subarray(0, length)
      } finally {
        await file.close()
      }
    })
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    await this.#try(async () => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await this.#write(join(this.#root, path), bytes)
        } catch (error) {
          if (!isImageError(error, 'not_found') || attempt === attemptsMax) throw error
        }
      }
    })
  }

  /** All who look for files tell them by the end of their names, so that nobody takes this one. */
  async #write(final: string, bytes: Uint8Array): Promise<void> {
    const temporary = `${final}.tmp.${Date.now()}${randomBytes(6).toString('hex')}`
    await makeParents(this.#disk, this.#root, final)
    const file = await this.#disk.open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0o644)
    try {
      try {
        for (let length = 0; length < bytes.length;) {
          length += await file.write(bytes.subarray(length), length)
        }
        await file.sync()
      } finally {
        await file.close()
      }
      await this.#disk.rename(temporary, final)
    } catch (error) {
      await this.#disk.unlink(temporary).catch(() => {})
      throw error
    }
    await syncUpwards(this.#disk, this.#root, dirname(final))
  }

  async stat(path: string): Promise<Found | undefined> {
    return await this.#try(async () => {
      const found = await orUndefined(this.#disk.lstat(join(this.#root, path)))
      if (!found?.isFile()) return undefined
      return { sizeBytes: Number(found.size), modifiedAtMs: Number(found.mtimeMs) }
    })
  }

  async list(folder: string): Promise<string[]> {
    return await this.#try(async () => {
      const entries = await orUndefined(this.#disk.readdir(join(this.#root, folder)))
      return (entries ?? []).map(({ name }) => name)
    })
  }

  /** Takes along the folders that this empties, as all who use the layout do. */
  async remove(path: string): Promise<void> {
    await this.#try(async () => {
      await orUndefined(this.#disk.unlink(join(this.#root, path)))
      for (let folder = dirname(path); folder.includes('/'); folder = dirname(folder)) {
        try {
          await this.#disk.rmdir(join(this.#root, folder))
        } catch {
          // It is not empty, or just gone.
          return
        }
      }
    })
  }

  async close(): Promise<void> {}

  async #try<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw this.#late(error)
    }
  }

  #late(error: unknown): unknown {
    const isSilent = isImageError(error, 'unavailable') && this.#disk.returning !== undefined
    return isSilent ? lateError('answer', readTimeoutMs, error) : error
  }
}
