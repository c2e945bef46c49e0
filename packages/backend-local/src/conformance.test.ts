// The contract of every backend, with two instances over one folder as two processes would be.

import { mkdtemp, readdir, readlink, rm, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite } from 'uvu'
import { conformance, resumableConformance, runCase } from '@backing-image/core/testing'
import { type Subject, unfinishedConformance } from '@backing-image/core/testing'
import { LocalBackend } from './index.ts'

const local = suite('local: conformance')

async function emptyFolders(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  if (entries.length === 0) return [folder]
  const inside = entries.filter((entry) => entry.isDirectory() && entry.name !== '.tmp')
  return (await Promise.all(inside.map((entry) => emptyFolders(join(folder, entry.name))))).flat()
}

function stays(root: string, folder: string): boolean {
  return ['', '.catalog', '.jobs', '.marks'].some((name) => folder === join(root, name))
}

async function openFiles(root: string): Promise<string[]> {
  const found: string[] = []
  for (const name of await readdir('/proc/self/fd')) {
    const path = await readlink(`/proc/self/fd/${name}`).catch(() => '')
    // Each instance keeps its own folder under `.tmp` open.
    if (path.startsWith(`${root}/`) && !/\/\.tmp\/[^/]+$/.test(path)) found.push(path)
  }
  return found
}

async function make(): Promise<Subject> {
  const root = await mkdtemp(join(tmpdir(), 'backend-local-'))
  const backend = await LocalBackend.open({ root })
  const other = await LocalBackend.open({ root })
  return {
    backend,
    other,
    async leftovers() {
      // The root, and those of the store itself, stay.
      const left = (await emptyFolders(root)).filter((folder) => !stays(root, folder))
      for await (const { id } of other.unfinished()) left.push(id)
      return [...left, ...(await openFiles(root))]
    },
    async close() {
      await backend.close()
      await other.close()
      // Fails when an instance has left its folder.
      await rm(join(root, '.tmp', 'ballast'))
      await rmdir(join(root, '.tmp'))
      await rm(root, { recursive: true })
    },
  }
}

for (const each of [...conformance, ...unfinishedConformance, ...resumableConformance]) {
  local(each.name, () => runCase(each, make))
}

local.run()
