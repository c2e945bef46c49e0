// The committed objects under one folder, in byte order, with up to 32 calls under way at a time, so
// that a slow medium is asked for many things at once and memory holds only the next few.

import type { BigIntStats, Dirent } from 'node:fs'
import { join } from 'node:path'
import { assertKey, isImageError, isKeyPart, type Stat } from '@backing-image/core'
import type { Disk } from './disk.ts'

const callsMax = 32

/** What a file is to the users of the store. */
export function toStat(key: string, stats: BigIntStats): Stat {
  const { ino, ctimeNs, mtimeNs, size } = stats
  return {
    key,
    size: Number(size),
    allocated: Number(stats.blocks) * 512,
    tag: `${ino}-${ctimeNs}-${mtimeNs}-${size}`,
    modifiedAt: mtimeNs,
  }
}

/** Everything that starts with `prefix` (checked by the caller). What vanishes meanwhile is skipped. */
export async function* listObjects(disk: Disk, root: string, prefix: string): AsyncIterable<Stat> {
  const place = { disk, root, isWhole: prefix === '' }
  const keys = walk(place, prefix, await children(place, prefix))
  for await (const stat of inOrder(keys, (key) => statOf(place, key))) if (stat) yield stat
}

interface Place {
  disk: Disk
  root: string
  /** The list is of everything, and so meets what others have put beside ours. */
  isWhole: boolean
}

async function statOf({ disk, root }: Place, key: string): Promise<Stat | undefined> {
  try {
    const stats = await disk.lstat(join(root, key))
    return stats.isFile() ? toStat(key, stats) : undefined
  } catch (error) {
    if (isImageError(error, 'not_found')) return undefined
    throw error
  }
}

/** The keys in and under one folder; a name that ends in "/" is a folder in it. */
async function* walk(place: Place, prefix: string, names: string[]): AsyncGenerator<string> {
  const looked = inOrder(names, async (name) => ({
    name,
    inside: name.endsWith('/') ? await children(place, prefix + name) : undefined,
  }))
  for await (const { name, inside } of looked) {
    if (inside) yield* walk(place, prefix + name, inside)
    else yield prefix + name
  }
}

/** The names in a folder that may be in keys, in the byte order of those keys. */
async function children(place: Place, prefix: string): Promise<string[]> {
  let entries: Dirent[]
  try {
    entries = await place.disk.readdir(join(place.root, prefix.slice(0, -1)))
  } catch (error) {
    if (isImageError(error, 'not_found')) return []
    // A folder of somebody else; our own, reserved or asked for by name, must be readable.
    const isForeign = place.isWhole && prefix !== '' && !prefix.startsWith('.')
    if (isForeign && isImageError(error, 'permission_denied')) return []
    throw error
  }
  // A folder sorts as "a/", so that "a-b/x" comes before "a/x".
  return entries
    .filter((entry) => isListed(prefix, entry))
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
    .toSorted()
}

/** Neither links, nor anything special, nor what can be in no key: those are not ours. */
export function isListed(prefix: string, entry: Dirent): boolean {
  if (entry.isDirectory()) return isInKeys(prefix, entry.name, '/x')
  return entry.isFile() && isInKeys(prefix, entry.name, '')
}

function isInKeys(prefix: string, name: string, rest: string): boolean {
  if (prefix !== '' && !isKeyPart(name)) return false
  try {
    assertKey(prefix + name + rest)
    return true
  } catch {
    return false
  }
}

/** `work` of each item, in their order, with the next few begun ahead. */
async function* inOrder<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const begun: Promise<R>[] = []
  for await (const item of items) {
    const next = work(item)
    // When an earlier one fails, nobody will wait for this one.
    next.catch(() => {})
    begun.push(next)
    const first = begun.length === callsMax ? begun.shift() : undefined
    if (first) yield await first
  }
  for (const next of begun) yield await next
}
