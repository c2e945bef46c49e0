// The storage backend on an NFS export: the local backend behind a mount that is checked, a store that
// is known by its id, and calls that do not believe what the client remembers.

import { LocalBackend, errnoOf, nodeDisk } from '@backing-image/backend-local'
import type { Disk, GuardOptions, Outage } from '@backing-image/backend-local'
import { mkdir, realpath } from 'node:fs/promises'
import { resolve } from 'node:path'
import { ImageError, isImageError } from '@backing-image/core'
import type { Backend, Bytes, Finding, GetOptions, Owners, Probe } from '@backing-image/core'
import type { PutOptions, Remains, Resumable, Scan, Scanned, Space } from '@backing-image/core'
import type { Stat, Unfinished, UnfinishedPut } from '@backing-image/core'
import { nfsDisk } from './disk.ts'
import { type Place, told } from './failure.ts'
import { findingsOf } from './findings.ts'
import { identify, readIdentity } from './identity.ts'
import { type NfsMount, type Programs, mountExport, mountTimeoutMs, sourceOf } from './mount.ts'
import { systemPrograms, unmount } from './mount.ts'
import { type Mount, type ReadMounts, exportOf, isNfs, mountOf } from './mountinfo.ts'
import { parseMounts, readMounts } from './mountinfo.ts'
import { Trash } from './trash.ts'

export { type NfsMount } from './mount.ts'

/** How long bytes stay readable that are deleted: another client may be reading them. */
const trashDelayMs = 60_000
const openTimeoutMs = 30_000

export interface NfsOptions {
  /** The root of the store: a folder on an NFS mount, or where to mount. */
  path: string
  /** Without it the path is on an NFS mount already. */
  mount?: NfsMount
  /** The id that the store must have; then none is made for a store without one. */
  storageId?: string
  /** Told in sentences what an operator should know, such as an older version of NFS. */
  onNotice?: (text: string) => void
  /** As for LocalBackend. */
  lowWaterBytes?: number
  guard?: GuardOptions
  /** How long deleted bytes stay readable; a minute unless given. */
  trashDelayMs?: number
  /** The calls of the file system; the real ones unless a test wants others. */
  disk?: Disk
  programs?: Programs
  readMounts?: ReadMounts
  mountTimeoutMs?: number
}

/** Keeps the contract of Backend on an NFS export. Any number of servers may share it. */
export class NfsBackend implements Backend, Unfinished, Resumable, Owners, Space, Scan, Probe {
  readonly name = 'nfs'
  readonly storageId: string
  readonly findings: readonly Finding[]
  readonly writeRefusal = undefined
  readonly #local: LocalBackend
  readonly #trash: Trash
  readonly #leave: () => Promise<void>

  private constructor(parts: Opened) {
    this.storageId = parts.storageId
    this.findings = parts.findings
    this.#local = parts.local
    this.#trash = parts.trash
    this.#leave = parts.leave
  }

  /**
   * Mounts the export where that is asked for. Rejects with `unavailable` when the server does not
   * answer; and with `failed_precondition`, `not_found`, `invalid_argument` or `permission_denied`,
   * naming the export, the path and the user, when an operator has to do something.
   */
  static async open(options: NfsOptions): Promise<NfsBackend> {
    const hasMounted = options.mount ? await arrive(options, options.mount) : false
    const onNotice = options.onNotice ?? (() => {})
    const path = resolve(options.path)
    const leave = async (): Promise<void> => {
      const failure = hasMounted
        ? await unmount(path, options.programs ?? systemPrograms)
        : undefined
      if (failure !== undefined) onNotice(failure)
    }
    try {
      const opening = openStore(options, onNotice)
      return new NfsBackend({ ...(await within(opening, options.path)), leave })
    } catch (error) {
      await leave()
      throw error
    }
  }

  /** Ends this process's part, and unmounts what it has mounted itself; call it when nothing is under way. */
  async close(): Promise<void> {
    await this.#trash.close()
    const isHung = this.#local.outage !== undefined
    await this.#local.close()
    // A new process first closes its copies of what is open here, which waits for the server, and we
    // for that process. The next one finds the mount and uses it.
    if (!isHung) await this.#leave()
  }

  /** Since when the server has not answered; undefined while it is not known to hang. */
  get outage(): Outage | undefined {
    return this.#local.outage
  }

  /** Calls back whenever an outage has begun or ended; returns what ends that. */
  onOutage(listener: () => void): () => void {
    return this.#local.onOutage(listener)
  }

  get owner(): string {
    return this.#local.owner
  }

  isGone(owner: string): Promise<boolean> {
    return this.#local.isGone(owner)
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#local.space()
  }

  put(key: string, bytes: Bytes, options?: PutOptions): Promise<Stat> {
    return this.#local.put(key, bytes, options)
  }

  get(key: string, options?: GetOptions): Promise<Bytes> {
    return this.#local.get(key, options)
  }

  stat(key: string): Promise<Stat> {
    return this.#local.stat(key)
  }

  list(prefix: string): AsyncIterable<Stat> {
    return this.#local.list(prefix)
  }

  scan(prefix: string, known: ReadonlyMap<string, string>): AsyncIterable<Scanned> {
    return this.#local.scan(prefix, known)
  }

  delete(key: string): Promise<void> {
    return this.#local.delete(key)
  }

  unfinished(): AsyncIterable<UnfinishedPut> {
    return this.#local.unfinished()
  }

  discard(id: string): Promise<void> {
    return this.#local.discard(id)
  }

  remains(key: string, owner: string, durableBytes: number): Promise<Remains | undefined> {
    return this.#local.remains(key, owner, durableBytes)
  }
}

interface Opened {
  storageId: string
  findings: Finding[]
  local: LocalBackend
  trash: Trash
  leave: () => Promise<void>
}

/** Mounts, unless this very export is there already: then false. */
async function arrive(options: NfsOptions, mount: NfsMount): Promise<boolean> {
  const path = resolve(options.path)
  const wanted = exportOf({ ...noMount, source: sourceOf(mount) })
  const find = async (): Promise<Mount | undefined> => {
    const mounts = parseMounts(await (options.readMounts ?? readMounts)())
    return mounts.findLast(({ point }) => point === path)
  }
  const there = await find()
  if (there && isNfs(there) && exportOf(there).toLowerCase() === wanted.toLowerCase()) return false
  if (there) {
    throw new ImageError(
      'failed_precondition',
      `${wanted} can not be mounted at ${path}: ${there.source} (${there.type}) is mounted there. ` +
        'Unmount it, or give another path.',
      { reason: 'storage_unavailable' },
    )
  }
  await mkdir(path, { recursive: true })
  await mountExport({
    mount,
    path,
    programs: options.programs ?? systemPrograms,
    timeoutMs: options.mountTimeoutMs ?? mountTimeoutMs,
    onNotice: options.onNotice ?? (() => {}),
  })
  return true
}

const noMount: Mount = { root: '/', point: '/', type: 'nfs', source: '', options: new Map() }

async function openStore(
  options: NfsOptions,
  onNotice: (text: string) => void,
): Promise<Omit<Opened, 'leave'>> {
  const disk = options.disk ?? nodeDisk
  const { root, mount } = await findMount(options)
  const place: Place = { path: options.path, export: exportOf(mount) }
  const trash = new Trash({ disk, root, delayMs: options.trashDelayMs ?? trashDelayMs })
  const { storageId, fileOwner } = await explained(place, async () => ({
    storageId: await identify({
      disk,
      root,
      place,
      temporaries: trash.folder,
      prepare: () => trash.make(),
      expected: options.storageId,
      onNotice,
    }),
    fileOwner: await trash.make().then(async () => (await trash.probe()).uid),
  }))
  let device = (await disk.lstat(root)).dev
  const check = async (found: bigint | undefined): Promise<void> => {
    if (found === device) return
    // Somebody may have mounted it anew, which is as good.
    try {
      await findMount(options)
      const id = await readIdentity({ disk, root, place })
      if (id !== storageId) throw gone(place, storageId, id)
    } catch (cause) {
      throw isImageError(cause, 'unavailable') ? cause : gone(place, storageId, 'no store', cause)
    }
    device = found ?? (await disk.lstat(root)).dev
  }
  const local = await LocalBackend.open({
    root,
    disk: nfsDisk({ disk, root, place, trash, check }),
    // What it lists it opens, and so sees as it is now.
    scansByThread: options.disk === undefined,
    provesDeath: false,
    name: 'nfs',
    ...(options.lowWaterBytes === undefined ? {} : { lowWaterBytes: options.lowWaterBytes }),
    ...(options.guard ? { guard: options.guard } : {}),
  })
  await trash.sweep()
  const findings = findingsOf({ mount, place, storageId, fileOwner })
  return { storageId, findings, local, trash }
}

function gone(place: Place, expected: string, actual = 'none', cause?: unknown): ImageError {
  return new ImageError(
    'unavailable',
    `${place.path} is no longer the store ${expected} of the NFS export ${place.export}. Mount it again.`,
    { reason: 'storage_unavailable', expected, actual, cause },
  )
}

/** The root of the store, without links, and the NFS mount that it is on. */
async function findMount(options: NfsOptions): Promise<{ root: string; mount: Mount }> {
  const root = await realpath(options.path).catch((cause: unknown) => {
    if (errnoOf(cause) !== 'ENOENT') throw cause
    const text = `There is no folder ${options.path}. Make it, and mount the NFS export there.`
    throw new ImageError('failed_precondition', text, { cause, reason: 'storage_unavailable' })
  })
  const mount = mountOf(parseMounts(await (options.readMounts ?? readMounts)()), root)
  if (mount && isNfs(mount)) return { root, mount }
  throw new ImageError(
    'failed_precondition',
    `${options.path} is not an NFS mount (it is ${mount?.type ?? 'unknown'}, of ` +
      `${mount?.source ?? 'nothing'}): an ordinary folder under a missing mount would be filled ` +
      'instead. Mount the export there, or give its server and path.',
    { reason: 'storage_unavailable' },
  )
}

async function explained<T>(place: Place, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw told(error, 'The look at the store', place)
  }
}

/** A server may stop between the mount and the first call. */
async function within<T>(work: Promise<T>, path: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const text = `${path} does not answer within ${openTimeoutMs / 1000} s. See whether its NFS server runs.`
      reject(new ImageError('unavailable', text))
    }, openTimeoutMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
