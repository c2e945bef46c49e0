// The file that says which store an export holds, so that a wrong or empty one is refused instead of
// being filled.

import { errnoOf } from '@backing-image/backend-local'
import { randomBytes, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { join } from 'node:path'
import { ImageError } from '@backing-image/core'
import type { Disk, OpenFile } from '@backing-image/backend-local'
import type { Place } from './failure.ts'

/** At the root of the store. No key begins like that, so it is never listed. */
export const identityName = '.backing-image-store.json'
const identityBytesMax = 4096
const readsMax = 20
/** What only a store has at its root. Images alone may be somebody else's. */
const ours = ['.catalog', '.jobs', '.marks']
const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants

export interface IdentityOptions {
  disk: Disk
  root: string
  place: Place
  /** A folder on the same file system for what is not finished; made by `prepare`. */
  temporaries: string
  prepare: () => Promise<void>
  /** What the operator expects; then nothing is made. */
  expected: string | undefined
  onNotice: (text: string) => void
}

/**
 * The id of the store. Where there is none, one is made, once: of servers that start together all get
 * the same. An export that holds a store without an id (of the local backend, say, moved here) is
 * given one too, since it is named by nothing else; with an `expected` id neither happens, and both
 * are refused.
 */
export async function identify(options: IdentityOptions): Promise<string> {
  const { place, expected } = options
  const found = await readIdentity(options)
  if (expected !== undefined && found !== expected) {
    const where = `${place.path}, the NFS export ${place.export},`
    const what = found === undefined ? 'has no id' : `is the store ${found}`
    const advice =
      found === undefined
        ? 'See whether the right export is mounted. To make a new store here, start once without ' +
          'STORAGE_ID, then set STORAGE_ID to the id that /ready and doctor show.'
        : 'See which export is mounted, or correct STORAGE_ID.'
    throw new ImageError(
      'failed_precondition',
      `${where} ${what}, and STORAGE_ID is ${expected}. ${advice}`,
      { reason: 'storage_unavailable', expected, actual: found ?? 'none' },
    )
  }
  return found ?? (await makeIdentity(options))
}

/** Undefined when there is none. */
export async function readIdentity(
  options: Pick<IdentityOptions, 'disk' | 'root' | 'place'>,
): Promise<string | undefined> {
  const { disk, root, place } = options
  await lookAfresh(disk, root)
  let file: OpenFile
  try {
    file = await disk.open(join(root, identityName), O_RDONLY | O_NOFOLLOW)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const bytes = Buffer.alloc(identityBytesMax)
    const length = await file.read(bytes, 0)
    const id = parseIdentity(bytes.toString('utf8', 0, length))
    if (id !== undefined) return id
  } finally {
    await file.close()
  }
  throw new ImageError(
    'failed_precondition',
    `${join(root, identityName)} on the NFS export ${place.export} does not say which store this is: ` +
      '{"id": "…"} is expected. Put the file back as it was.',
    { reason: 'storage_unavailable' },
  )
}

function parseIdentity(text: string): string | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || !('id' in value)) return undefined
    return typeof value.id === 'string' && /^[\w.-]{1,64}$/.test(value.id) ? value.id : undefined
  } catch {
    return undefined
  }
}

async function makeIdentity(options: IdentityOptions): Promise<string> {
  const { disk, root, place, temporaries, onNotice } = options
  const holds = (await disk.readdir(root)).map(({ name }) => name)
  await options.prepare()
  const identity = { id: randomUUID(), createdAt: new Date().toISOString(), layout: 1 }
  const path = join(temporaries, `identity-${randomBytes(8).toString('hex')}`)
  const file = await disk.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
  let failure: unknown
  try {
    try {
      await writeAll(file, Buffer.from(`${JSON.stringify(identity)}\n`))
      await file.sync()
    } finally {
      await file.close()
    }
    // Whatever this says: a lost answer may hide a success, and another server may be first.
    await disk.link(path, join(root, identityName)).catch((error: unknown) => (failure = error))
  } finally {
    await disk.unlink(path).catch(() => {})
  }
  const folder = await disk.open(root, O_RDONLY | O_DIRECTORY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  const found = await readMade(options)
  if (found === undefined) {
    throw failure ?? new ImageError('unavailable', `${root} does not keep its id. Try again.`)
  }
  if (found === identity.id) {
    const what = ours.some((name) => holds.includes(name)) ? 'held a store without an id' : 'is new'
    onNotice(`The NFS export ${place.export} at ${place.path} ${what}; from now on it is ${found}.`)
  }
  return found
}

async function readMade(options: IdentityOptions): Promise<string | undefined> {
  for (let reads = 1; reads < readsMax; reads += 1) {
    const found = await readIdentity(options)
    if (found !== undefined) return found
  }
  return undefined
}

async function writeAll(file: OpenFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done), done)
}

/** Opening a folder makes an NFS client ask for what is in it. */
async function lookAfresh(disk: Disk, folder: string): Promise<void> {
  const handle = await disk.open(folder, O_RDONLY | O_DIRECTORY)
  await handle.close()
}
