// Storage folders of every kind, as they are before a container gets them, and what becomes of them.

import { chownSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** Makes the folder, and root's files in it: each entry is `folder/`, `file` or `link -> target`. */
export function makeFolder(path, owner, mode, entries = []) {
  mkdirSync(path, { mode })
  chownSync(path, owner, owner)
  for (const entry of entries) makeEntry(path, entry)
  return path
}

function makeEntry(folder, entry) {
  const [path, target] = entry.split(' -> ')
  const [parent] = path.split('/')
  if (path.includes('/')) mkdirSync(join(folder, parent), { recursive: true })
  if (target !== undefined) symlinkSync(target, join(folder, path))
  else if (!path.endsWith('/')) writeFileSync(join(folder, path), '')
}

/** The path of everything in it, from the folder on. */
export function allFiles(folder) {
  return readdirSync(folder, { recursive: true })
}

/** Who the folder and all in it belong to, `uid:gid`, each once. */
export function ownersIn(folder) {
  const paths = [folder, ...allFiles(folder).map((path) => join(folder, path))]
  const owners = paths.map((path) => lstatSync(path)).map(({ uid, gid }) => `${uid}:${gid}`)
  return [...new Set(owners)].toSorted()
}
