// In the guest: what every backend must do, on NFS, with a second client looking on.

import { mkdtemp, readdir, readlink, rm, rmdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { suite } from 'uvu'
import {
  conformance,
  resumableConformance,
  runCase,
  unfinishedConformance,
} from '../../packages/core/dist/testing/index.js'
import { NfsBackend } from '../../packages/backend-nfs/dist/index.js'

const nfs = suite('conformance')
const one = '/mnt/nfs'
const two = '/mnt/nfs2'

async function emptyFolders(folder) {
  const entries = await readdir(folder, { withFileTypes: true })
  if (entries.length === 0) return [folder]
  const inside = entries.filter((entry) => entry.isDirectory() && entry.name !== '.tmp')
  return (await Promise.all(inside.map((entry) => emptyFolders(join(folder, entry.name))))).flat()
}

async function openFiles(root) {
  const found = []
  for (const name of await readdir('/proc/self/fd')) {
    const path = await readlink(`/proc/self/fd/${name}`).catch(() => '')
    if (path.startsWith(`${root}/`)) found.push(path)
  }
  return found
}

async function make() {
  const root = await mkdtemp(join(one, 'store-'))
  const otherRoot = join(two, basename(root))
  const backend = await NfsBackend.open({ path: root, trashDelayMs: 500 })
  const other = await NfsBackend.open({ path: otherRoot, trashDelayMs: 500 })
  return {
    backend,
    other,
    async leftovers() {
      // The root, and those of the store itself, stay.
      const kept = ['', '.catalog', '.jobs', '.marks'].map((name) => join(root, name))
      const left = (await emptyFolders(root)).filter((folder) => !kept.includes(folder))
      for await (const { id } of other.unfinished()) left.push(id)
      const open = await Promise.all([root, otherRoot].map(openFiles))
      return [...left, ...(await readdir(join(root, '.tmp', 'trash'))), ...open.flat()]
    },
    async close() {
      await backend.close()
      await other.close()
      // Fails when an instance has left its folder, or the kernel a file.
      await rm(join(root, '.tmp', 'ballast'))
      await rmdir(join(root, '.tmp', 'trash'))
      await rmdir(join(root, '.tmp'))
      await rm(root, { recursive: true })
    },
  }
}

/** What is left behind by a case that failed hides why it did. */
async function shown(work) {
  try {
    return await work
  } catch (error) {
    console.log(error)
    throw error
  }
}

// All of them take too long for one guest.
const cases =
  process.env.CASES === 'remains'
    ? resumableConformance
    : [...conformance, ...unfinishedConformance]

for (const each of cases) {
  if (process.env.CASE && !each.name.includes(process.env.CASE)) continue
  nfs(each.name, () => runCase({ ...each, run: (...both) => shown(each.run(...both)) }, make))
}

nfs.run()
