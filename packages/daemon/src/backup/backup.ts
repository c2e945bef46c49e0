// Backups of backing images: what is ordered over gRPC (contract §1.5), done in the background, and
// how far each is.

import type { FileHandle } from 'node:fs/promises'
import { type Hasher, ImageError, asError, isImageError } from '@backing-image/core'
import type { Log } from '../log.ts'
import { again } from './again.ts'
import { type Config, formatConfig, readConfig, timeText } from './config.ts'
import { backupUrl, configPath } from './layout.ts'
import { Lock } from './lock.ts'
import { type BackupOrder, type Prepared, prepare, wrapped } from './order.ts'
import { sendImage } from './send.ts'
import { type Target, lateError, openTarget } from './target.ts'

export type { BackupOrder } from './order.ts'

export interface BackupStatus {
  /** Whole percents; below 100 until it is complete. */
  progress: number
  /** Empty until it is complete. */
  backupUrl: string
  error: string
  state: 'in_progress' | 'complete' | 'error'
}

export interface BackupsOptions {
  hasher: Hasher
  log: Log
  /** As LockOptions has it. */
  settleMs?: number
  /** How long a target may take for the beginning; less than usual for a test. */
  beginTimeoutMs?: number
}

/** Whoever orders waits for a minute (contract §1.3). */
const usualBeginTimeoutMs = 50_000
const concurrencyMax = 64
/** The rest is for the end. */
const sentPercent = 95
const finishedMax = 5
const runningMax = 32

interface Entry {
  order: BackupOrder
  status: BackupStatus
  stop: AbortController
  /** Resolves when nothing of it goes on any more. */
  over: Promise<void>
}

/** What a backup has in hand. */
interface Work extends Prepared {
  entry: Entry
  target: Target
  lock: Lock
}

export class Backups {
  readonly #hasher: Hasher
  readonly #log: Log
  readonly #settleMs: number | undefined
  readonly #beginTimeoutMs: number
  /** In the order in which they were ordered. */
  #entries: Entry[] = []

  constructor({ hasher, log, settleMs, beginTimeoutMs }: BackupsOptions) {
    this.#hasher = hasher
    this.#log = log
    this.#settleMs = settleMs
    this.#beginTimeoutMs = beginTimeoutMs ?? usualBeginTimeoutMs
  }

  /**
   * Resolves once the backup goes on in the background, or is there already, which takes over two
   * seconds; the same order while it goes on is the same backup. Rejects when the order is wrong, the
   * image can not be read, or the target does not take a backup now.
   */
  async create(order: BackupOrder): Promise<void> {
    const { name, uuid, backupTarget } = order
    const same = this.#entries.find(
      (each) =>
        each.status.state === 'in_progress' &&
        each.order.name === name &&
        each.order.uuid === uuid &&
        each.order.backupTarget === backupTarget,
    )
    if (same) return
    if (this.#entries.filter(({ status }) => status.state === 'in_progress').length >= runningMax) {
      throw new ImageError('resource_exhausted', `${runningMax} backups go on. Try again later.`)
    }
    const prepared = await prepare(order)
    const status: BackupStatus = { progress: 0, backupUrl: '', error: '', state: 'in_progress' }
    const entry: Entry = { order, status, stop: new AbortController(), over: Promise.resolve() }
    this.#entries.push(entry)
    const beginning = this.#begin(entry, prepared)
    entry.over = beginning.then(
      (work) => work && this.#perform(work),
      (error: unknown) => this.#fail(entry, error),
    )
    try {
      await beginning
    } catch (error) {
      throw wrapped(`failed to create backup ${name}`, error)
    }
  }

  /** Of the newest backup of that image. Throws `not_found`. */
  status(name: string): BackupStatus {
    const entry = this.#entries.findLast(({ order }) => order.name === name)
    if (entry) return { ...entry.status }
    const text = `failed to get backup status ${name}: backup backing image not found ${name}`
    throw new ImageError('not_found', text)
  }

  /** Ends all that go on. */
  async close(): Promise<void> {
    for (const { stop } of this.#entries) {
      stop.abort(new ImageError('cancelled', 'The backup has been ended, for this process ends.'))
    }
    await Promise.all(this.#entries.map(({ over }) => over))
  }

  /** All that whoever orders waits for; undefined when there is nothing left to do. */
  async #begin(entry: Entry, { file, config }: Prepared): Promise<Work | undefined> {
    const { order, stop } = entry
    // Only the beginning ends at once: later there may be something to take back.
    const beginning = new AbortController()
    const leave = (): void => beginning.abort(stop.signal.reason)
    stop.signal.addEventListener('abort', leave, { once: true })
    const late = lateError('take the beginning of a backup', this.#beginTimeoutMs)
    const timer = setTimeout(() => beginning.abort(late), this.#beginTimeoutMs)
    const { signal } = beginning
    let target: Target | undefined
    let lock: Lock | undefined
    let work: Work | undefined
    try {
      target = await openTarget(order.backupTarget, order.credential, { signal })
      const settle = this.#settleMs === undefined ? {} : { settleMs: this.#settleMs }
      lock = await Lock.acquire(target, { signal, ...settle })
      if (await isThere(target, config)) {
        this.#complete(entry)
      } else {
        await target.write(configPath(config.name), formatConfig(config))
        work = { entry, file, target, lock, config }
      }
    } finally {
      clearTimeout(timer)
      stop.signal.removeEventListener('abort', leave)
      if (!work) await release(file, target, lock)
    }
    return work
  }

  /** Never rejects. */
  async #perform(work: Work): Promise<void> {
    const { entry, file, target, lock, config } = work
    const { order, status, stop } = entry
    try {
      const sent = await sendImage({
        file,
        path: order.path,
        sizeBytes: config.sizeBytes,
        target,
        compression: config.compression,
        concurrency: Math.max(1, Math.min(concurrencyMax, Math.floor(order.concurrentLimit) || 1)),
        hasher: this.#hasher,
        signal: stop.signal,
        onProgress: (done) => {
          status.progress = Math.max(status.progress, Math.floor(done * sentPercent))
        },
      })
      assertChecksum(order, sent.checksum)
      // Without it a deletion may have taken blocks that were there.
      lock.assertHeld()
      const completedAt = timeText(new Date())
      const whole = { ...config, ...sent, completedAt }
      const bytes = formatConfig(whole)
      await again(() => target.write(configPath(config.name), bytes), stop.signal)
      this.#complete(entry)
      this.#log.info({ name: order.name, blocks: sent.blocks.length }, 'A backup is complete.')
    } catch (error) {
      await withdraw(work)
      this.#fail(entry, error)
    }
    await release(file, target, lock)
  }

  #complete({ order, status }: Entry): void {
    const url = backupUrl(order.backupTarget, order.name)
    Object.assign(status, { progress: 100, backupUrl: url, error: '', state: 'complete' })
    this.#forgetOld()
  }

  #fail({ order, status }: Entry, error: unknown): void {
    Object.assign(status, { error: asError(error).message, state: 'error' })
    this.#log.error({ name: order.name, error: status.error }, 'A backup has failed.')
    this.#forgetOld()
  }

  #forgetOld(): void {
    const finished = this.#entries.filter(({ status }) => status.state !== 'in_progress')
    const old = new Set(finished.slice(0, -finishedMax))
    this.#entries = this.#entries.filter((entry) => !old.has(entry))
  }
}

/** Throws `already_exists` where a complete backup of that name is one of other bytes. */
async function isThere(target: Target, wanted: Config): Promise<boolean> {
  let found: Config
  try {
    found = await readConfig(target, wanted.name)
  } catch (error) {
    // A damaged one can not be restored; it is made anew, as one that was left half done.
    if (isImageError(error, 'not_found', 'data_loss', 'invalid_argument')) return false
    throw error
  }
  if (found.completedAt === '') return false
  const isSame =
    [found.checksum, wanted.checksum].includes('') || found.checksum === wanted.checksum
  if (isSame && found.sizeBytes === wanted.sizeBytes) return true
  throw new ImageError(
    'already_exists',
    `The backup target has a backup of ${wanted.name} with other bytes: ${found.sizeBytes} of them ` +
      `with the checksum ${found.checksum}, not ${wanted.sizeBytes} with ${wanted.checksum}. Delete ` +
      'that backup first.',
  )
}

function assertChecksum({ path, checksum }: BackupOrder, found: string): void {
  if (checksum === '' || checksum === found) return
  throw new ImageError(
    'data_loss',
    `The checksum of ${path} is ${found}, not ${checksum}: the file is damaged, and was not backed up.`,
  )
}

/** Takes away what says that a backup goes on: others would take it for one that is there. */
async function withdraw({ target, lock, config }: Work): Promise<void> {
  try {
    // Somebody else with a lock may be making the same backup.
    if (!(await lock.isAlone())) return
    const found = await readConfig(target, config.name)
    if (found.completedAt === '') await target.remove(configPath(config.name))
  } catch {
    // The next backup of that name goes over it.
  }
}

async function release(
  file: FileHandle,
  target: Target | undefined,
  lock: Lock | undefined,
): Promise<void> {
  await lock?.release()
  await target?.close().catch(() => {})
  await file.close().catch(() => {})
}
