// What a conformance case is, and the few words that all of them are written in.

import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { type Backend, type Bytes, type GetOptions } from '../../backend.ts'
import { type Code, isImageError } from '../../errors.ts'

/** One sentence of the contract, and its proof. It throws where the backend does not keep it. */
export interface Case {
  /** The sentence, as a claim. */
  name: string
  /** `other` is another process's view of the same store. The store is empty at the start. */
  run(backend: Backend, other: Backend): Promise<void>
}

export const kibibyte: number = 1024
export const mebibyte: number = 1024 * 1024

/** Bytes that tell every position from its neighbours; another seed gives others. */
export function content(sizeBytes: number, seed: number = 1): Buffer {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4))
  let state = (seed * 2654435761) >>> 0
  for (let index = 0; index < words.length; index += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    words[index] = state ^ (state >>> 15)
  }
  return Buffer.from(words.buffer, 0, sizeBytes)
}

/** Everything that `bytes` yields. */
export async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) {
    assert.ok(chunk.length > 0, 'get yielded an empty chunk')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

export async function read(backend: Backend, key: string, options?: GetOptions): Promise<Buffer> {
  return await collect(await backend.get(key, options))
}

/** The keys under `prefix`, in the order in which the backend lists them. */
export async function listed(backend: Backend, prefix: string = ''): Promise<string[]> {
  const keys: string[] = []
  for await (const stat of backend.list(prefix)) keys.push(stat.key)
  return keys
}

/** Equality of bytes, whose message names the place instead of printing megabytes. */
export function same(actual: Uint8Array, expected: Uint8Array, what: string): void {
  assert.equal(actual.length, expected.length, `${what}: the length`)
  if (Buffer.compare(actual, expected) === 0) return
  const at = expected.findIndex((byte, index) => actual[index] !== byte)
  assert.fail(`${what}: byte ${at} is ${actual[at]}, expected ${expected[at]}`)
}

/** `work` fails, and with that code. */
export async function refuses(
  code: Code,
  work: () => PromiseLike<unknown>,
  what: string,
): Promise<void> {
  try {
    await work()
  } catch (error) {
    assert.ok(isImageError(error, code), `${what}: expected ${code}, found ${String(error)}`)
    return
  }
  assert.fail(`${what}: expected ${code}, but it succeeded`)
}

/** `work` fails with this very object. */
export async function failsWith(
  expected: unknown,
  work: PromiseLike<unknown>,
  what: string,
): Promise<void> {
  try {
    await work
  } catch (error) {
    assert.ok(error === expected, `${what}: expected ${String(expected)}, found ${String(error)}`)
    return
  }
  assert.fail(`${what}: expected ${String(expected)}, but it succeeded`)
}

/** The key is not there, for any verb, to anyone. */
export async function absent(key: string, ...backends: Backend[]): Promise<void> {
  for (const backend of backends) {
    await refuses('not_found', () => backend.stat(key), `stat of ${key}`)
    await refuses('not_found', () => backend.get(key), `get of ${key}`)
    assert.ok(!(await listed(backend)).includes(key), `list shows ${key}`)
  }
}

/** A promise, and what resolves it. */
export interface Gate<T> {
  opened: Promise<T>
  open: (value: T) => void
}

function nothing(): void {}

export function gate<T = void>(): Gate<T> {
  let open: (value: T) => void = nothing
  const opened = new Promise<T>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** Waits for what may come late: a clean-up that goes on after a put was aborted. */
export async function eventually(
  check: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs: number = 5_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs
  while (!(await check())) {
    if (performance.now() > deadlineMs) assert.fail(`not within ${timeoutMs} ms: ${what}`)
    await pause(10)
  }
}

/** Turns a hang into a failure that says what hung. */
export async function soon<T>(
  work: Promise<T>,
  what: string,
  timeoutMs: number = 10_000,
): Promise<T> {
  const stop = new AbortController()
  const late = pause(timeoutMs, undefined, { signal: stop.signal }).then(() =>
    assert.fail(`not within ${timeoutMs} ms: ${what}`),
  )
  // Stopping the timer rejects it; the race is over by then.
  late.catch(() => undefined)
  try {
    return await Promise.race([work, late])
  } finally {
    stop.abort()
  }
}
