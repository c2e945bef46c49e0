// What a store must not hold when nobody works on it, judged by the keys that it has, whatever keeps
// them: a folder or a bucket (docs/layout.md).

const ingestPattern = /^[a-z0-9][a-z0-9_.-]+-[0-9a-f]{8}$/
/** Not the reports of scrubs, whose ids may be digits alone. */
const claimPattern = /^\.jobs\/(?!SCRUB\/)([^/]+)\/([0-9]+)\.json$/

const corruptPattern = /^\.marks\/([^/]+)\/corrupt\.json$/

/** Those of the keys under which there are marks of corrupt bytes. */
export function corruptKeys(keys) {
  return keys.filter((key) => corruptPattern.test(key))
}

/**
 * Each as a sentence. `sizes` are those of all objects by key, `records` the published version records,
 * `corrupt` the marks of corrupt bytes by key. `foreign` are folders that somebody else made;
 * `emptyFolders` a disk may have. Nothing is said of the ingests in `busy`, `<name>-<uuid>` each, on
 * which somebody works.
 */
export function looseEnds({
  sizes,
  records,
  corrupt = new Map(),
  foreign = [],
  emptyFolders = [],
  busy = [],
}) {
  const found = []
  const keys = [...sizes.keys()].toSorted((a, b) => (a < b ? -1 : 1))
  const named = new Set()
  for (const { name, version, uuid, size, keys: bytes } of records) {
    const isBusy = busy.includes(`${name}-${uuid}`)
    // Bytes that it shares, and its own, which go when nobody needs them.
    const there = bytes.filter((key) => sizes.has(key))
    if (there.length === 0 && !isBusy)
      found.push(`${name} ${version} names ${bytes}, which is not there.`)
    for (const key of there) {
      const [folder] = key.split('/')
      named.add(folder)
      if (busy.includes(folder)) continue
      if (sizes.get(key) !== size) found.push(`${key} has not the ${size} bytes of it.`)
      for (const file of ['backing.cfg', 'blocks']) {
        if (!sizes.has(`${folder}/${file}`)) found.push(`${folder} has no ${file}.`)
      }
    }
  }
  // What serves in the place of corrupt bytes, as long as records name those.
  for (const [key, { healedBy }] of corrupt) {
    const [, id] = corruptPattern.exec(key)
    if (!named.has(id)) found.push(`${id} is marked as corrupt, and named by no record.`)
    if (healedBy === undefined) continue
    if (!sizes.has(healedBy)) found.push(`${healedBy} is to serve for ${id}, and is not there.`)
    named.add(healedBy.split('/')[0])
  }
  const unnamed = (folder) =>
    ingestPattern.test(folder) && ![...named, ...foreign, ...busy].includes(folder)
  for (const key of keys) {
    if (unnamed(key.split('/')[0])) found.push(`${key} is named by no record.`)
  }
  for (const folder of emptyFolders.filter(unnamed)) {
    // A remover that was killed before its last step: its mark knows the folder.
    const isMarked = keys.some((key) => key.startsWith(`.marks/${folder}/`))
    if (!isMarked) found.push(`${folder} is empty, and named by no record.`)
  }
  return [
    ...found,
    ...unfinishedJobs(keys)
      .filter((id) => !busy.includes(id))
      .map(jobFault),
  ]
}

function jobFault(id) {
  return `The job ${id} has not ended.`
}

/** First claims without an outcome: without its first claim there is no job, be other files left of it. */
function unfinishedJobs(keys) {
  const ids = new Set()
  for (const key of keys) {
    const [, id, epoch] = claimPattern.exec(key) ?? []
    if (Number(epoch) === 1 && !keys.includes(`.jobs/${id}/end.json`)) ids.add(id)
  }
  return [...ids]
}

/** How often each job was taken over, by `<name>-<uuid>`: its highest epoch but the first. */
export function takeOvers(keys) {
  const found = new Map()
  for (const key of keys) {
    const [, id, epoch] = claimPattern.exec(key) ?? []
    if (id) found.set(id, Math.max(found.get(id) ?? 0, Number(epoch) - 1))
  }
  return found
}
