// What really lies in the folder of a store: looked at without the store, by its documented layout.

import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const ingestPattern = /^[a-z0-9][a-z0-9_.-]+-[0-9a-f]{8}$/

function names(folder) {
  return existsSync(folder) ? readdirSync(folder).toSorted() : []
}

/** All published records. */
function records(root) {
  const catalog = join(root, '.catalog')
  return names(catalog).flatMap((name) =>
    names(join(catalog, name)).map((file) =>
      JSON.parse(readFileSync(join(catalog, name, file), 'utf8')),
    ),
  )
}

/**
 * What a store that has just been opened, and on which nobody works, must not have: each as a
 * sentence. `foreign` are the folders that somebody else made.
 */
export function leftovers(root, foreign = []) {
  const found = []
  const named = new Set()
  for (const { name, version, uuid, size, keys } of records(root)) {
    const folder = `${name}-${uuid}`
    named.add(folder)
    for (const key of keys) {
      const path = join(root, key)
      if (!existsSync(path)) found.push(`${name} ${version} names ${key}, which is not there.`)
      else if (statSync(path).size !== size) found.push(`${key} has not the ${size} bytes of it.`)
    }
    if (!existsSync(join(root, folder, 'backing.cfg'))) found.push(`${folder} has no backing.cfg.`)
  }
  for (const folder of names(root)) {
    if (!ingestPattern.test(folder) || named.has(folder) || foreign.includes(folder)) continue
    const files = names(join(root, folder))
    // A remover that was killed before its last step: its mark knows the folder.
    if (files.length === 0 && existsSync(join(root, '.marks', folder))) continue
    found.push(`${folder} (${files}) is named by no record.`)
  }
  for (const folder of names(join(root, '.jobs'))) {
    const files = names(join(root, '.jobs', folder))
    const isClaimed = files.some((file) => /^[0-9]+\.json$/.test(file))
    if (isClaimed && !files.includes('end.json')) found.push(`The job ${folder} has not ended.`)
  }
  return found
}

/**
 * Everything under `.tmp` but the folder of the one process that lives. A process that was killed
 * while it began may leave its folder without a socket, which proves nothing, and so without files.
 */
export function temporaryLeftovers(root) {
  const entries = names(join(root, '.tmp')).filter((name) => name !== 'ballast')
  const alive = entries.filter((owner) => names(join(root, '.tmp', owner)).includes('alive'))
  if (alive.length > 1) return [`.tmp has the sockets of several processes: ${alive}.`]
  return entries.flatMap((owner) =>
    names(join(root, '.tmp', owner))
      .filter((name) => name !== 'alive' && name !== 'alive.new')
      .map((name) => `.tmp/${owner}/${name} is left.`),
  )
}
