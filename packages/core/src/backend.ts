// The contract that every storage backend keeps: five verbs over keys. Each sentence here is a case
// of testing/conformance.ts, which every backend runs without skips.

import { ImageError } from './errors.ts'

/** Bytes in flight. A Node Readable, a web ReadableStream and an async generator all are one. */
export type Bytes = AsyncIterable<Uint8Array>

/** What a store knows of one committed object. */
export interface Stat {
  key: string
  /** Length in bytes. */
  size: number
  /** Bytes that the object takes on the medium, where the medium has holes. */
  allocated?: number
  /** Changes whenever the content may have: an ETag; or inode, ctime, mtime and size. */
  tag: string
  /** Last change by the store's own clock, in nanoseconds since 1970. Compare only with its like. */
  modifiedAt: bigint
}

/** A part of an object: the first byte, and the last one, which is included. */
export interface Range {
  start: number
  end: number
}

export interface PutOptions {
  /** How many bytes will come, as a hint: space is reserved for them and checked. */
  size?: number
  /** Create, never replace. For bodies up to `exclusiveBytesMax`. */
  ifAbsent?: boolean
  signal?: AbortSignal
  /**
   * Told how many bytes from the beginning are durable by now: more each time, not after each chunk, but
   * often enough that who goes on after a crash loses little; and never after the put has settled.
   * Only stores with `remains` call it; with the id that those would have, where a store may not know
   * whose put it was.
   */
  onDurable?: (bytes: number, id?: string) => void
  /**
   * Asked once with the error when the put fails, before it rejects: true leaves what is unfinished as
   * it is, for `remains`, and what was given is made durable first, unless the put was aborted or the
   * medium hangs. A process that dies leaves it without being asked. Absent: nothing is left.
   */
  keep?: (error: unknown) => boolean
  /**
   * The bytes that come follow these, which the store itself holds: only of remains without `read`.
   * `size` and `onDurable` count those too. Where they are gone meanwhile it rejects with `aborted`,
   * and who puts begins anew. The answer to the last step may be lost: then an object of the right size
   * is taken for ours, so that whoever needs to be sure reads it once.
   */
  after?: Remains
}

export interface GetOptions {
  range?: Range
  signal?: AbortSignal
  /**
   * The reader is done with each chunk when it asks for the next, so that memory may be used again:
   * to make and collect new memory for each costs more than to read it.
   */
  lend?: boolean
}

/** The largest body that may be put with `ifAbsent`: it must fit in one request to any store. */
export const exclusiveBytesMax: number = 1024 * 1024

/**
 * Keys and bytes. After `put` or `delete` resolves, every `get`, `stat` and `list` started later, in
 * any process, sees it. `signal` is for the stuck ones: a hung disk can only be left by aborting.
 *
 * Whose memory is a chunk? A chunk given to `put` may be a view of shared memory: it is read-only,
 * and valid only until the next call of `next()` or `return()`; who keeps it copies it. After an
 * error or abort `put` calls `return()` once, and only when nothing reads the chunk any more, even
 * when `put` has rejected long before. Chunks that `get` yields belong to the caller, unless it asked
 * for them to be lent. None is empty.
 */
export interface Backend {
  /** `local`, `nfs`, `s3`, `memory`: for messages and metrics. */
  readonly name: string

  /**
   * When it resolves, the whole object is visible and durable. If `bytes` throws, it rejects with
   * that same error and the key is as before. Without `ifAbsent` it replaces atomically: a reader
   * sees old or new. With it, of any number of racing writers exactly one succeeds and the others
   * reject with `already_exists`; what stays unclear is `unavailable` and may have happened. It reads
   * `bytes` once. Empty bytes make an empty object. A `size` that does not fit is
   * `resource_exhausted` before the first byte is read.
   */
  put(key: string, bytes: Bytes, options?: PutOptions): Promise<Stat>

  /**
   * Rejects with `not_found` before it resolves; then yields exactly the asked bytes or throws. A
   * range that is not within the object is `out_of_range`. Stopping early releases the handle.
   */
  get(key: string, options?: GetOptions): Promise<Bytes>

  /** The committed object; else `not_found`. */
  stat(key: string): Promise<Stat>

  /**
   * Every committed key that starts with `prefix` (empty, or ending in `/`), in byte order, once
   * each; no temporaries. A key that is there for the whole of a list is in it.
   */
  list(prefix: string): AsyncIterable<Stat>

  /** The key is gone, durably; an absent one is success. Parent folders that it empties go too. */
  delete(key: string): Promise<void>
}

/** Bytes that a `put` has not finished, its process being alive or dead. */
export interface UnfinishedPut {
  id: string
  /** The key that the put was for. */
  key: string
  modifiedAt: bigint
  /** The process that began it, as its own `owner`; undefined where the store can not tell. */
  owner?: string
}

/** Optional power: unfinished puts can be found and thrown away, for the sweeper. */
export interface Unfinished {
  unfinished(): AsyncIterable<UnfinishedPut>
  /** Absent is success. Never called for a put of a living process. */
  discard(id: string): Promise<void>
}

/** What a put left that another put of the same key can go on from. */
export interface Remains {
  /** As UnfinishedPut has it. */
  id: string
  /** So many bytes from the beginning are there, and durable. Over 0. */
  offset: number
  /**
   * Those bytes, to be put once more: a successor never writes into the file of another. Rejects with
   * `aborted` when they are gone meanwhile. Absent where the store itself goes on after them
   * (PutOptions.after); then nobody has seen those bytes again.
   */
  read?: (signal?: AbortSignal) => Promise<Bytes>
}

/** Optional power: a put that ended early, or whose process did, can be gone on with. */
export interface Resumable {
  /**
   * What a put of `key` by the process `owner` left, of which `onDurable` had told `durableBytes`: of
   * several that had told so much the one that was begun last. There may be more of it by now.
   * Undefined where there is nothing of use, and for 0. Asked only when that put is over, or its owner
   * has lost the work; what it left stays until `discard`. A store may not know whose a put was. None
   * knows of what bytes it was: who puts others under the same key forgets the old number before.
   */
  remains(key: string, owner: string, durableBytes: number): Promise<Remains | undefined>
}

/** Optional power: this store can prove that a process which worked on it is dead. */
export interface Owners {
  /** This process, to the others that share the store; at most 100 characters. */
  readonly owner: string
  /** True only when it is certain that `owner` runs no more; a doubt is false. */
  isGone(owner: string): Promise<boolean>
}

/** Optional power: free and total space of the medium, in bytes. */
export interface Space {
  space(): Promise<{ freeBytes: number; totalBytes: number }>
}

/** One object of a scan; without content when its tag is known, or when it is over 1 MiB. */
export interface Scanned {
  stat: Stat
  content?: Uint8Array
}

/** Optional power: a list with the contents of small objects, cheaper than a `get` of each. */
export interface Scan {
  /** As `list`, but in no order. `known` is the tag of each key whose content is not wanted. */
  scan(prefix: string, known: ReadonlyMap<string, string>): AsyncIterable<Scanned>
}

/** One thing that was looked at when a store was opened. */
export interface Finding {
  /** One or two words, such as `exclusive creation`. */
  what: string
  /** `FAIL` where something that the store needs is missing. */
  level: 'ok' | 'warn' | 'FAIL'
  /** What was found, and what to do about it. */
  text: string
}

/** Optional power: the store was tried when it was opened, and its findings are known. */
export interface Probe {
  readonly findings: readonly Finding[]
  /** Why nothing may be written to this store; undefined where writing is safe. */
  readonly writeRefusal: string | undefined
}

export interface PresignOptions {
  /** How long the link is good, at most seven days (SigV4). */
  expiresSeconds: number
  /** What the answer's Content-Disposition is to say. */
  disposition: string
}

/** Optional power: a link with which anybody can read an object from the store itself, for a while. */
export interface Presign {
  presign(key: string, options: PresignOptions): Promise<string>
}

export function hasProbe(backend: Backend): backend is Backend & Probe {
  return 'findings' in backend && 'writeRefusal' in backend
}

export function hasPresign(backend: Backend): backend is Backend & Presign {
  return 'presign' in backend
}

export function hasScan(backend: Backend): backend is Backend & Scan {
  return 'scan' in backend
}

export function hasUnfinished(backend: Backend): backend is Backend & Unfinished {
  return 'unfinished' in backend && 'discard' in backend
}

export function hasResumable(backend: Backend): backend is Backend & Resumable {
  return 'remains' in backend
}

export function hasOwners(backend: Backend): backend is Backend & Owners {
  return 'owner' in backend && 'isGone' in backend
}

export function hasSpace(backend: Backend): backend is Backend & Space {
  return 'space' in backend
}

const part = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const reserved = new Set(['.catalog', '.jobs', '.marks', '.longhorn'])
const keyLengthMax = 200

/**
 * The first line of every verb: a key is parts joined by `/`, each `[A-Za-z0-9][A-Za-z0-9._-]*`, at
 * most 200 characters; only the first may be one of the reserved `.catalog`, `.jobs`, `.marks`,
 * `.longhorn`. Throws `invalid_argument`.
 */
export function assertKey(key: string): void {
  const [first = '', ...rest] = key.split('/')
  const good =
    key.length <= keyLengthMax &&
    (part.test(first) || (reserved.has(first) && rest.length > 0)) &&
    rest.every((each) => part.test(each))
  if (!good) throw new ImageError('invalid_argument', `${JSON.stringify(key)} is no storage key.`)
}

/** A prefix to list by: empty, or the beginning of a key that ends in `/`. */
export function assertPrefix(prefix: string): void {
  if (prefix !== '') {
    if (!prefix.endsWith('/')) {
      throw new ImageError('invalid_argument', `The prefix ${JSON.stringify(prefix)} lacks a "/".`)
    }
    assertKey(`${prefix}x`)
  }
}

/** True for a single part that may stand in a key on its own (not one of the reserved). */
export function isKeyPart(text: string): boolean {
  return part.test(text)
}

/** The whole of a small object, at most `bytesMax`; a larger one is `data_loss`. */
export async function readAll(bytes: Bytes, bytesMax: number = exclusiveBytesMax): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of bytes) {
    length += chunk.length
    if (length > bytesMax) {
      throw new ImageError('data_loss', `An object that should be small is over ${bytesMax} bytes.`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length)
}

/** One chunk as Bytes; none when it is empty. */
export async function* bytesOf(content: Uint8Array | string): Bytes {
  const chunk = typeof content === 'string' ? Buffer.from(content) : content
  if (chunk.length > 0) yield chunk
}
