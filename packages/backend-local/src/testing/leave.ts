// Puts that fail and are kept, and what is left of them.

import { type Bytes, readAll } from '@backing-image/core'
import * as assert from 'uvu/assert'
import { LocalBackend, type LocalOptions } from '../index.ts'
import { withFolder } from './folder.ts'

const mebibyte = 1024 * 1024
/** What the puts are for. */
export const leftKey = 'left-0123abcd/backing'

/** Opens backends over a fresh folder, and closes them. */
export async function withRoot(
  test: (
    root: string,
    open: (options?: Partial<LocalOptions>) => Promise<LocalBackend>,
  ) => Promise<void>,
): Promise<void> {
  await withFolder(async (root) => {
    const opened: LocalBackend[] = []
    const open = async (options: Partial<LocalOptions> = {}): Promise<LocalBackend> => {
      const backend = await LocalBackend.open({ root, syncEveryBytes: mebibyte, ...options })
      opened.push(backend)
      return backend
    }
    try {
      await test(root, open)
    } finally {
      for (const each of opened) await each.close()
    }
  })
}

async function* bytesThenFailure(body: Uint8Array, failure: Error | undefined): Bytes {
  for (let at = 0; at < body.length; at += mebibyte) yield body.subarray(at, at + mebibyte)
  if (failure) throw failure
}

export interface Left {
  /** What the put has rejected with. */
  error: unknown
  told: number[]
}

/** A put of `body` that fails then, and is kept; without `failure` it fails only of itself. */
export async function leave(
  backend: LocalBackend,
  body: Uint8Array,
  failure: Error | undefined,
): Promise<Left> {
  const told: number[] = []
  const put = backend.put(leftKey, bytesThenFailure(body, failure), {
    keep: () => true,
    onDurable: (bytes) => told.push(bytes),
  })
  const error = await put.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return { error, told }
}

export async function unfinished(backend: LocalBackend): Promise<{ id: string; key: string }[]> {
  const found = []
  for await (const { id, key } of backend.unfinished()) found.push({ id, key })
  return found
}

/** All that is durable of what `owner` left, of which so many bytes were told to be. */
export async function whole(backend: LocalBackend, owner: string, told: number): Promise<Buffer> {
  const left = await backend.remains(leftKey, owner, told)
  assert.ok(left?.read, 'nothing is left')
  assert.ok(left.offset >= told, `${left.offset} bytes are left, ${told} were told`)
  return await readAll(await left.read(), 64 * mebibyte)
}
