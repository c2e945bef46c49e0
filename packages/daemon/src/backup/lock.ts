// A lock in the target, of Longhorn's own kind: a file that says what its owner does, and is worth
// something while it is young. Backups and restores go together; a deletion goes alone (contract §1.5).

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { ImageError, orUndefined } from '@backing-image/core'
import { lockPath, locksFolder } from './layout.ts'
import type { Target } from './target.ts'

/** How long a lock is worth something after it was last written. */
const usualLifeMs = 150_000
const usualRefreshMs = 60_000
/** Between ours and the look at the others: clocks differ, and files' times are whole seconds. */
const usualSettleMs = 2_000
const lockBytesMax = 64 * 1024
const suffix = '.lck'

/** What a deletion has is 2. */
const backupOrRestore = 1

interface Held {
  name: string
  kind: number
  isAcquired: boolean
  /** By the clock of the target. */
  writtenAtMs: number
}

export interface LockOptions {
  signal?: AbortSignal
  /** The times above, less than usual for a test. */
  settleMs?: number
  refreshMs?: number
  lifeMs?: number
}

export class Lock {
  readonly #target: Target
  readonly #lifeMs: number
  readonly #name = `lock-${randomBytes(8).toString('hex')}`
  #isAcquired = false
  /** When it was last written, by our clock and by that of the target. */
  #renewedAtMs = 0
  #writtenAtMs = 0
  #timer: NodeJS.Timeout | undefined
  /** The refresh that goes on; a release waits for it, or it would come back. */
  #renewing: Promise<void> = Promise.resolve()

  private constructor(target: Target, lifeMs: number) {
    this.#target = target
    this.#lifeMs = lifeMs
  }

  /**
   * Takes a lock for a backup or a restore, which takes over two seconds. Rejects with `aborted` while
   * somebody deletes: whoever asked tries again later.
   */
  static async acquire(target: Target, options: LockOptions = {}): Promise<Lock> {
    const lock = new Lock(target, options.lifeMs ?? usualLifeMs)
    try {
      await lock.#renew()
      await pause(options.settleMs ?? usualSettleMs, undefined, { signal: options.signal })
      await lock.#assertFirst()
      lock.#isAcquired = true
      await lock.#renew()
    } catch (error) {
      await lock.release()
      options.signal?.throwIfAborted()
      throw error
    }
    lock.#timer = setInterval(() => {
      // A failure is seen by its age: until then the next may succeed.
      lock.#renewing = lock.#renewing.then(() => lock.#renew()).catch(() => {})
    }, options.refreshMs ?? usualRefreshMs).unref()
    return lock
  }

  /** Throws `aborted` when others may think that we have gone, and delete what we rely on. */
  assertHeld(): void {
    if (performance.now() - this.#renewedAtMs < this.#lifeMs) return
    throw new ImageError(
      'aborted',
      `lost the lock ${lockPath(this.#name)}: it could not be written for ${this.#lifeMs / 1000} s.`,
    )
  }

  /** Whether nobody else works on the backups of this target. */
  async isAlone(): Promise<boolean> {
    return (await this.#others()).length === 0
  }

  /** Gives it back; what can not be removed is over by itself. */
  async release(): Promise<void> {
    clearInterval(this.#timer)
    await this.#renewing
    await this.#target.remove(lockPath(this.#name)).catch(() => {})
  }

  async #renew(): Promise<void> {
    const beganAtMs = performance.now()
    const path = lockPath(this.#name)
    const content = { Name: this.#name, Type: backupOrRestore, Acquired: this.#isAcquired }
    await this.#target.write(path, Buffer.from(JSON.stringify(content)))
    const found = await this.#target.stat(path)
    if (!found) throw new ImageError('unavailable', `${path} was written and is not there.`)
    this.#writtenAtMs = found.modifiedAtMs
    this.#renewedAtMs = beganAtMs
  }

  async #assertFirst(): Promise<void> {
    const own = { name: this.#name, isAcquired: false, writtenAtMs: this.#writtenAtMs }
    const first = (await this.#others()).find(
      (other) => other.kind !== backupOrRestore && isBefore(other, own),
    )
    if (!first) return
    throw new ImageError(
      'aborted',
      `failed to acquire lock ${lockPath(this.#name)} when performing backup create/restore, please ` +
        `try again later: ${first.name} is held, by a deletion.`,
    )
  }

  /** Those that are worth something. */
  async #others(): Promise<Held[]> {
    const held: Held[] = []
    for (const file of await this.#target.list(locksFolder)) {
      const name = file.slice(0, -suffix.length)
      if (!file.endsWith(suffix) || name === this.#name) continue
      const content = await orUndefined(this.#target.read(lockPath(name), lockBytesMax))
      const found = content && (await this.#target.stat(lockPath(name)))
      // Given back meanwhile.
      if (!content || !found) continue
      // What its clock says now: ours may be wrong.
      const nowMs = this.#writtenAtMs + (performance.now() - this.#renewedAtMs)
      if (nowMs - found.modifiedAtMs > this.#lifeMs) continue
      held.push({ name, ...parse(content), writtenAtMs: found.modifiedAtMs })
    }
    return held
  }
}

/** What can not be read is no lock, as for all others. */
function parse(content: Uint8Array): { kind: number; isAcquired: boolean } {
  try {
    const { Type, Acquired } = JSON.parse(Buffer.from(content).toString()) as Record<
      string,
      unknown
    >
    return { kind: Number(Type), isAcquired: Acquired === true }
  } catch {
    return { kind: backupOrRestore, isAcquired: false }
  }
}

/** The order that all agree upon: acquired ones, then the oldest, then by name. */
function isBefore(one: Omit<Held, 'kind'>, other: Omit<Held, 'kind'>): boolean {
  if (one.isAcquired !== other.isAcquired) return one.isAcquired
  if (one.writtenAtMs !== other.writtenAtMs) return one.writtenAtMs < other.writtenAtMs
  return one.name < other.name
}
