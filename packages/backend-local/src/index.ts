// The storage backend over one local folder: the verbs. Keys are paths under the root; `.tmp` in it
// holds what is unfinished, one folder for each process.

import { dirname, join, resolve } from 'node:path'
import { constants, type BigIntStats } from 'node:fs'
import { ImageError, assertKey, assertPrefix, isImageError, orUndefined } from '@backing-image/core'
import type { Backend, Bytes, GetOptions, Owners, PutOptions } from '@backing-image/core'
import type { Remains, Resumable, Scan, Scanned, Space, Stat } from '@backing-image/core'
import type { Unfinished, UnfinishedPut } from '@backing-image/core'
import { exclusiveBytesMax, readAll } from '@backing-image/core'
import { unlessAborted } from './abort.ts'
import { Temporary } from './commit.ts'
import { type Disk, explained, nodeDisk } from './disk.ts'
import { remove, removeEmptyFolders } from './folders.ts'
import { Guard, type GuardOptions, type Outage } from './guard.ts'
import { type GuardedDisk, guarded } from './guarded.ts'
import { Leftovers, temporaryFolder, temporaryName } from './leftovers.ts'
import { listObjects, toStat } from './list.ts'
import { Owner } from './owner.ts'
import { Put } from './put.ts'
import { readObject } from './read.ts'
import { Scanner } from './scan.ts'
import { Ballast, Room } from './space.ts'

export { type Disk, type FreeBlocks, type OpenFile, errnoOf, nodeDisk, translate } from './disk.ts'
export { Temporary, readFlags } from './commit.ts'
export { readObject } from './read.ts'
export { openDisk } from './guarded.ts'
export type { GuardedDisk } from './guarded.ts'
export { makeParents, syncUpwards } from './folders.ts'
export { type GuardOptions, type Outage, hasHungCalls } from './guard.ts'

export interface LocalOptions {
  /** A folder that exists; everything is stored under it. */
  root: string
  /** The file system; the real one unless a test wants another. */
  disk?: Disk
  /** Whether a thread may read the real file system past `disk`; true where none is given. */
  scansByThread?: boolean
  /** How much of the medium new images leave free; 1 % of it and at most 1 GiB unless given. */
  lowWaterBytes?: number
  /** False where processes of several machines share the root: there a socket proves nothing. */
  provesDeath?: boolean
  /** The name of the backend, `local` unless given. */
  name?: string
  /** How long what hangs is waited for, and how many calls are made at a time. */
  guard?: GuardOptions
  /** How much of a put is written between two syncs; 64 MiB unless a test wants less. */
  syncEveryBytes?: number
}

/** Keeps the contract of Backend over one folder. Several may share the folder. */
export class LocalBackend implements Backend, Unfinished, Resumable, Owners, Space, Scan {
  readonly name: string
  readonly #root: string
  readonly #guard: Guard
  readonly #disk: GuardedDisk
  readonly #owner: Owner
  readonly #leftovers: Leftovers
  readonly #room: Room
  readonly #ballast: Ballast
  /** A disk that is not the real one is read call by call. */
  readonly #scanner: Scanner | undefined
  readonly #syncEveryBytes: number | undefined
  #temporaryCount = 0

  private constructor(options: LocalOptions) {
    this.name = options.name ?? 'local'
    this.#root = resolve(options.root)
    const disk = explained(options.disk ?? nodeDisk)
    this.#guard = new Guard(disk, this.#root, options.guard)
    this.#disk = guarded(disk, this.#guard)
    const { scansByThread = options.disk === undefined } = options
    this.#scanner = scansByThread ? new Scanner(this.#guard) : undefined
    const temporaries = join(this.#root, temporaryFolder)
    this.#owner = new Owner(this.#disk, temporaries, options.provesDeath ?? true)
    this.#leftovers = new Leftovers(this.#disk, this.#root, this.#owner)
    this.#room = new Room(this.#disk, this.#root, options.lowWaterBytes)
    this.#syncEveryBytes = options.syncEveryBytes
    this.#ballast = new Ballast(this.#disk, join(temporaries, 'ballast'), this.#room)
  }

  /**
   * Rejects with `not_found` when the root is no folder, and with `permission_denied` when this
   * process may not write there. Leftovers of processes that are certainly dead are removed.
   */
  static async open(options: LocalOptions): Promise<LocalBackend> {
    const backend = new LocalBackend(options)
    await backend.#begin()
    return backend
  }

  async #begin(): Promise<void> {
    try {
      const root = await this.#disk.open(this.#root, constants.O_RDONLY | constants.O_DIRECTORY)
      await root.close()
      // Who can not even begin on a full medium could not delete anything from it.
      await this.#ballast.spend(() => this.#owner.begin())
    } catch (error) {
      if (isImageError(error, 'permission_denied')) throw await this.#denied(error)
      throw error
    }
    await this.sweepDead()
    await this.#ballast.restock()
  }

  async #denied(cause: ImageError): Promise<ImageError> {
    const stats = await this.#disk.lstat(this.#root).catch(() => undefined)
    const whose = stats
      ? `, which has mode ${(stats.mode & 0o7777n).toString(8)} and belongs to user ${stats.uid}, ` +
        `group ${stats.gid}`
      : ''
    const who = `User ${process.getuid?.() ?? '?'}`
    return new ImageError(
      'permission_denied',
      `${who} may not write in ${this.#root}${whose}. Let that user read and write there.`,
      { cause, reason: 'storage_unavailable' },
    )
  }

  /**
   * Ends this process's part; call it when nothing is under way. Where the medium hangs it is left as
   * it is, for the next process to tidy.
   */
  async close(): Promise<void> {
    await this.#scanner?.close()
    try {
      // With the socket its name goes too, by a call in this very thread: only where the medium answers.
      await this.#disk.statfs(this.#root)
      await this.#owner.end()
    } catch (error) {
      if (!isImageError(error, 'unavailable')) throw error
    }
  }

  /** Since when the medium has not answered; undefined while it is not known to hang. */
  get outage(): Outage | undefined {
    return this.#guard.outage
  }

  /** Calls back whenever an outage has begun or ended; returns what ends that. */
  onOutage(listener: () => void): () => void {
    return this.#guard.onChange(listener)
  }

  get owner(): string {
    return this.#owner.id
  }

  isGone(owner: string): Promise<boolean> {
    return this.#owner.isGone(owner)
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#room.measure()
  }

  async put(key: string, bytes: Bytes, options: PutOptions = {}): Promise<Stat> {
    assertKey(key)
    const isResumable = options.keep !== undefined
    const put = new Put(
      {
        disk: this.#disk,
        root: this.#root,
        key,
        final: join(this.#root, key),
        begin: (onDurable) => this.#beginTemporary(key, { isResumable, onDurable }),
        room: this.#room,
        ballast: this.#ballast,
      },
      options,
    )
    return toStat(key, await put.run(bytes))
  }

  async #beginTemporary(
    key: string,
    { isResumable, onDurable }: { isResumable: boolean; onDurable: PutOptions['onDurable'] },
  ): Promise<Temporary> {
    if ((await this.#find(key)) === 'foreign') {
      throw new ImageError(
        'failed_precondition',
        `${key} can not be stored: a file, folder or link that this store did not make is in the ` +
          `way under ${this.#root}. Move it elsewhere.`,
      )
    }
    await this.#ballast.restock()
    this.#temporaryCount += 1
    const count = this.#temporaryCount
    const nameOf = (bytes: number): string =>
      temporaryName({ count, key, durableBytes: isResumable ? bytes : undefined })
    const place = {
      disk: this.#disk,
      root: this.#root,
      pathOf: (bytes: number) => join(this.#owner.folder, nameOf(bytes)),
      onDurable,
      syncEveryBytes: this.#syncEveryBytes,
    }
    try {
      return await Temporary.create(place)
    } catch (error) {
      if (!isImageError(error, 'not_found')) throw error
      // Somebody has emptied `.tmp` while we run.
      await this.#owner.begin()
      return await Temporary.create(place)
    }
  }

  /**
   * What is at a key: nothing, an object, or what this store did not make. Links are never followed:
   * they may lead out of the root.
   */
  async #find(key: string): Promise<BigIntStats | 'absent' | 'foreign'> {
    const paths: string[] = []
    for (let path = join(this.#root, key); path !== this.#root; path = dirname(path)) {
      paths.push(path)
    }
    const [own, ...parents] = await Promise.all(
      paths.map(async (path) => {
        try {
          return await this.#disk.lstat(path)
        } catch (error) {
          if (isImageError(error, 'not_found')) return undefined
          throw error
        }
      }),
    )
    if (parents.some((stats) => stats && !stats.isDirectory())) return 'foreign'
    if (!own) return 'absent'
    return own.isFile() ? own : 'foreign'
  }

  async #findObject(key: string): Promise<BigIntStats> {
    const found = await this.#find(key)
    if (typeof found === 'object') return found
    throw new ImageError('not_found', `There is no ${key}.`)
  }

  async get(key: string, options: GetOptions = {}): Promise<Bytes> {
    assertKey(key)
    options.signal?.throwIfAborted()
    await unlessAborted(this.#findObject(key), options.signal)
    return await readObject(this.#disk, join(this.#root, key), key, options)
  }

  async stat(key: string): Promise<Stat> {
    assertKey(key)
    return toStat(key, await this.#findObject(key))
  }

  async *list(prefix: string): AsyncIterable<Stat> {
    assertPrefix(prefix)
    // A link in the prefix leads elsewhere, as it does in a key.
    if (prefix !== '' && (await this.#find(`${prefix}x`)) === 'foreign') return
    yield* listObjects(this.#disk, this.#root, prefix)
  }

  async *scan(prefix: string, known: ReadonlyMap<string, string>): AsyncIterable<Scanned> {
    assertPrefix(prefix)
    if (this.#scanner && (prefix === '' || (await this.#find(`${prefix}x`)) !== 'foreign')) {
      yield* this.#scanner.scan(this.#root, prefix, known)
      return
    }
    for await (const stat of this.list(prefix)) {
      const isWanted = known.get(stat.key) !== stat.tag && stat.size <= exclusiveBytesMax
      const bytes = isWanted ? await orUndefined(this.get(stat.key)) : undefined
      yield bytes ? { stat, content: await readAll(bytes) } : { stat }
    }
  }

  async delete(key: string): Promise<void> {
    assertKey(key)
    const path = join(this.#root, key)
    await this.#ballast.spend(async () => {
      if ((await this.#find(key)) !== 'foreign') return await remove(this.#disk, this.#root, path)
      return await removeEmptyFolders(this.#disk, this.#root, dirname(path))
    })
  }

  unfinished(): AsyncIterable<UnfinishedPut> {
    return this.#leftovers.unfinished()
  }

  async discard(id: string): Promise<void> {
    await this.#leftovers.discard(id)
  }

  async remains(key: string, owner: string, durableBytes: number): Promise<Remains | undefined> {
    assertKey(key)
    return await this.#leftovers.remains(key, owner, durableBytes)
  }

  /**
   * Removes what processes that are certainly dead have left unfinished, but for what may be gone on
   * with: that is for whoever knows whether somebody does. Never of a living one.
   */
  async sweepDead(): Promise<void> {
    await this.#leftovers.sweepDead()
  }
}
