// What really lies in the folder of a store: looked at without the store, by its documented layout.

import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { corruptKeys, looseEnds } from './loose-ends.js'

function names(folder) {
  return ifThere(() => readdirSync(folder).toSorted(), [])
}

/** What `read` gives, or `otherwise` where it is gone: who works at this moment takes files away. */
function ifThere(read, otherwise) {
  try {
    return read()
  } catch (error) {
    if (error.code === 'ENOENT') return otherwise
    throw error
  }
}

/** A small JSON object; undefined where there is none. */
export function readObject(root, key) {
  return ifThere(() => JSON.parse(readFileSync(join(root, key), 'utf8')))
}

/** Everything below a folder of the store, `.tmp` left out: sizes by key, and empty folders. */
function walk(root, folder, found) {
  const entries = ifThere(() => readdirSync(join(root, folder), { withFileTypes: true }))
  if (entries === undefined) return found
  if (entries.length === 0) found.emptyFolders.push(folder)
  for (const entry of entries) {
    const key = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (key !== '.tmp') walk(root, key, found)
      continue
    }
    const stat = statSync(join(root, key), { throwIfNoEntry: false })
    if (stat) found.sizes.set(key, stat.size)
  }
  return found
}

/**
 * What a store that has just been opened, and on which nobody works, must not have: each as a
 * sentence. `foreign` are the folders that somebody else made, `busy` the ingests that somebody works on.
 */
export function leftovers(root, foreign = [], busy = []) {
  const { sizes, emptyFolders } = walk(root, '.', { sizes: new Map(), emptyFolders: [] })
  const records = [...sizes.keys()]
    .filter((key) => key.startsWith('.catalog/'))
    .map((key) => readObject(root, key))
    .filter((record) => record !== undefined)
  const corrupt = corruptKeys([...sizes.keys()])
    .map((key) => [key, readObject(root, key)])
    .filter(([, mark]) => mark !== undefined)
  return looseEnds({ sizes, records, corrupt: new Map(corrupt), foreign, emptyFolders, busy })
}

/**
 * Everything under `.tmp` but the folders of the processes that live. A process that was killed
 * while it began may leave its folder without a socket, which proves nothing, and so without files. Nor
 * is anything said of what belongs to the ingests in `busy`, or is the record of their names.
 */
export function temporaryLeftovers(root, livingMost = 1, busy = []) {
  const parts = busy.flatMap((id) => [`~${id}~`, `~${id.slice(0, -9)}~`])
  const isBusy = (name) => parts.some((part) => name.includes(part))
  const entries = names(join(root, '.tmp')).filter((name) => name !== 'ballast')
  // What a dead process left of a pull stays until that is gone on with, and its socket with it.
  const alive = entries.filter((owner) => {
    const files = names(join(root, '.tmp', owner))
    return files.includes('alive') && !files.some(isBusy)
  })
  if (alive.length > livingMost) {
    const found = alive.map((owner) => `${owner}: ${names(join(root, '.tmp', owner))}`)
    return [`.tmp has the sockets of several processes: ${found.join('; ')}.`]
  }
  return entries.flatMap((owner) =>
    names(join(root, '.tmp', owner))
      .filter((name) => name !== 'alive' && name !== 'alive.new' && !isBusy(name))
      .map((name) => `.tmp/${owner}/${name} is left.`),
  )
}
