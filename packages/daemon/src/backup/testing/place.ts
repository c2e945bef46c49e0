// For tests of backups: a folder to back up to, images of several kinds, and what is in the folder.

import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, readdir, rm, utimes, writeFile, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Hasher } from '@backing-image/core'
import { type BackupOrder, type BackupStatus, Backups, type BackupsOptions } from '../backup.ts'
import { blockBytes, locksFolder } from '../layout.ts'
import { openBackup } from '../restore.ts'

export const settleMs = 5

/** One folder with images and another one for backups, and who makes them. */
export class Place {
  readonly folder: string
  readonly root: string
  readonly url: string
  readonly hasher: Hasher = new Hasher()
  readonly backups: Backups
  /** What was logged, as text. */
  readonly told: string[] = []

  private constructor(folder: string, options: Partial<BackupsOptions>) {
    this.folder = folder
    this.root = join(folder, 'target')
    this.url = `vfs://${this.root}`
    const tell = (about: object, text: string): void => {
      this.told.push(`${text} ${JSON.stringify(about)}`)
    }
    const log = { info: tell, warn: tell, error: tell }
    this.backups = new Backups({ hasher: this.hasher, log, settleMs, ...options })
  }

  static async make(options: Partial<BackupsOptions> = {}): Promise<Place> {
    const place = new Place(await mkdtemp(join(tmpdir(), 'backup-')), options)
    await mkdir(place.root)
    return place
  }

  async remove(): Promise<void> {
    await this.backups.close()
    await this.hasher.close()
    await rm(this.folder, { recursive: true, force: true })
  }

  /** An order for a backup of these bytes. */
  async order(bytes: Uint8Array, change: Partial<BackupOrder> = {}): Promise<BackupOrder> {
    const path = join(this.folder, `image-${randomBytes(4).toString('hex')}`)
    await writeFile(path, bytes)
    return {
      name: 'debian',
      uuid: '1',
      path,
      checksum: sha512(bytes),
      backupTarget: this.url,
      labels: [],
      credential: {},
      compressionMethod: 'lz4',
      concurrentLimit: 2,
      parameters: {},
      ...change,
    }
  }

  /** Orders it, and waits for its end. */
  async backup(order: BackupOrder): Promise<BackupStatus> {
    await this.backups.create(order)
    return await this.end(order.name)
  }

  async end(name: string = 'debian'): Promise<BackupStatus> {
    for (let round = 0; round < 2_000; round += 1) {
      const status = this.backups.status(name)
      // Also the lock is given back.
      if (status.state !== 'in_progress' && (await this.locks()).length === 0) return status
      await pause(5)
    }
    throw new Error(`The backup of ${name} does not end.`)
  }

  async restore(url: string): Promise<Buffer> {
    const opened = await openBackup(url, {}, { concurrentLimit: 3, settleMs })
    try {
      const chunks: Uint8Array[] = []
      for await (const chunk of opened.bytes) chunks.push(Uint8Array.from(chunk))
      return Buffer.concat(chunks)
    } finally {
      await opened.close()
    }
  }

  /** All files of the target, by their paths in it. */
  async files(suffix: string = ''): Promise<string[]> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const found = await readdir(this.root, { recursive: true, withFileTypes: true })
        return found
          .filter((each) => each.isFile() && each.name.endsWith(suffix))
          .map((each) => join(each.parentPath, each.name).slice(this.root.length + 1))
          .toSorted()
      } catch (error) {
        // The folders of a lock that is given back go just now.
        if (attempt === 20) throw error
        await pause(5)
      }
    }
  }

  /** Whoever gives one back may just be removing its folder. */
  async locks(): Promise<string[]> {
    return await readdir(join(this.root, locksFolder)).catch(() => [])
  }

  async config(name: string = 'debian'): Promise<Record<string, unknown>> {
    const path = `backupstore/backing-images/backing-images/${name}/backing-image.cfg`
    return JSON.parse(await readFile(join(this.root, path), 'utf8')) as Record<string, unknown>
  }

  async write(path: string, content: string | Uint8Array): Promise<void> {
    await mkdir(dirname(join(this.root, path)), { recursive: true })
    await writeFile(join(this.root, path), content)
  }

  /** Somebody's lock: 1 is for a backup or restore, 2 for a deletion. */
  async lock(kind: 1 | 2, ageMs: number, isAcquired: boolean = true): Promise<string> {
    const name = `lock-${randomBytes(8).toString('hex')}`
    const path = `${locksFolder}/${name}.lck`
    await this.write(path, JSON.stringify({ Name: name, Type: kind, Acquired: isAcquired }))
    const time = (Date.now() - ageMs) / 1000
    await utimes(join(this.root, path), time, time)
    return path
  }
}

/** Runs `test` with a place of its own. */
export async function withPlace(
  test: (place: Place) => Promise<void>,
  options: Partial<BackupsOptions> = {},
): Promise<void> {
  const place = await Place.make(options)
  try {
    await test(place)
  } finally {
    await place.remove()
  }
}

export async function failureOf(work: Promise<unknown>): Promise<Error> {
  try {
    await work
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error('It did not fail.')
}

export function sha512(bytes: Uint8Array): string {
  return createHash('sha512').update(bytes).digest('hex')
}

/** Noise, zeros and text, the same block twice, and a last block that is not whole. */
export function mixedImage(): Buffer {
  const twice = Buffer.alloc(blockBytes, randomBytes(1_000))
  const noise = randomBytes(blockBytes)
  const zeros = Buffer.alloc(blockBytes)
  return Buffer.concat([twice, zeros, noise, twice, zeros, zeros, randomBytes(512 * 7)])
}
