// Where backups are kept: what this room asks of a place, and which kinds of places there are.

import { ImageError } from '@backing-image/core'
import { openFolder } from './folder-target.ts'
import { locksFolder } from './layout.ts'
import { openNfs } from './nfs-target.ts'
import { openS3 } from './s3-target.ts'

/** Credentials by name, such as AWS_ACCESS_KEY_ID; never shown, never put into the environment. */
export type Credential = Readonly<Record<string, string>>

export interface Found {
  sizeBytes: number
  /** When it was last written, by the clock of the target, in milliseconds since 1970. */
  modifiedAtMs: number
}

/**
 * Files by their paths, relative and with slashes. What goes wrong is an ImageError whose code says
 * what kind it is; what takes too long is `deadline_exceeded`.
 */
export interface Target {
  /** All of it, at most `bytesMax`: more is `data_loss`. Rejects with `not_found`. */
  read(path: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer>>
  /** Replaces in one step as far as the medium can, and resolves when it is durable. */
  write(path: string, bytes: Uint8Array): Promise<void>
  /** Undefined where there is no such file. */
  stat(path: string): Promise<Found | undefined>
  /** The names in one folder; none where that is missing. */
  list(folder: string): Promise<string[]>
  /** An absent one is success. */
  remove(path: string): Promise<void>
  /** Lets it go; nothing may be asked of it any more. */
  close(): Promise<void>
}

export interface OpenOptions {
  /** Ends what is waited for, but for `remove` and `close`: those tidy up. */
  signal?: AbortSignal
}

/** The longest that one call may take: it is for some megabytes at most, with its repetitions. */
const callTimeoutMs = 90_000

const kinds: Record<string, (url: URL, credential: Credential) => Promise<Target>> = {
  'vfs:': openFolder,
  'nfs:': openNfs,
  's3:': openS3,
}

/**
 * Connects, and sees whether the target answers. Rejects with `invalid_argument` for a URL that leads
 * nowhere and with `unimplemented` for a kind that is not known here.
 */
export async function openTarget(
  url: string,
  credential: Credential,
  { signal }: OpenOptions = {},
): Promise<Target> {
  if (!URL.canParse(url)) {
    const text =
      'The backup target is no URL such as s3://bucket@region/path/ or nfs://server:/path.'
    throw new ImageError('invalid_argument', text)
  }
  const parsed = new URL(url)
  const open = kinds[parsed.protocol]
  if (!open) {
    throw new ImageError(
      'unimplemented',
      `driver ${parsed.protocol.slice(0, -1)} is not supported; ` +
        `a backup target is one of ${Object.keys(kinds).join(' ')}.`,
    )
  }
  const opening = open(parsed, credential)
  try {
    const target = new Bounded(await inTime(opening, 'be opened', signal), signal)
    await target.list(locksFolder)
    return target
  } catch (error) {
    // It may come when nobody waits for it any more.
    void opening.then((late) => late.close()).catch(() => {})
    throw error
  }
}

/** A target of which nothing is waited for without end. */
class Bounded implements Target {
  readonly #target: Target
  readonly #signal: AbortSignal | undefined

  constructor(target: Target, signal: AbortSignal | undefined) {
    this.#target = target
    this.#signal = signal
  }

  read(path: string, bytesMax: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#run(`give ${path}`, () => this.#target.read(path, bytesMax))
  }

  write(path: string, bytes: Uint8Array): Promise<void> {
    return this.#run(`take ${path}`, () => this.#target.write(path, bytes))
  }

  stat(path: string): Promise<Found | undefined> {
    return this.#run(`tell of ${path}`, () => this.#target.stat(path))
  }

  list(folder: string): Promise<string[]> {
    return this.#run(`list ${folder}`, () => this.#target.list(folder))
  }

  remove(path: string): Promise<void> {
    return inTime(this.#target.remove(path), `remove ${path}`)
  }

  close(): Promise<void> {
    return inTime(this.#target.close(), 'be let go')
  }

  async #run<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.#signal?.throwIfAborted()
    return await inTime(work(), what, this.#signal)
  }
}

/** Settles as `work` does, or rejects when the time is over or the signal says so. */
function inTime<T>(work: Promise<T>, what: string, signal?: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(lateError(what, callTimeoutMs)), callTimeoutMs)
    const leave = (): void => reject(signal?.reason)
    work.then(resolve, reject).finally(() => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
    })
    if (signal?.aborted) leave()
    else signal?.addEventListener('abort', leave, { once: true })
  })
}

/** Longhorn goes on waiting, and gives no backup up, by this word (contract §6.5). */
export function lateError(what: string, timeoutMs: number, cause?: unknown): ImageError {
  return new ImageError(
    'deadline_exceeded',
    `DeadlineExceeded: the backup target did not ${what} within ${timeoutMs / 1000} s. See whether ` +
      'it runs and can be reached from here.',
    { cause },
  )
}
