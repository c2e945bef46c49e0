// A fresh folder for one test, and a look at what is left in it.

import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Runs `test` with an empty folder, which is removed afterwards. */
export async function withFolder(
  test: (root: string) => Promise<void>,
  parent: string = tmpdir(),
): Promise<void> {
  const root = await mkdtemp(join(parent, 'backend-local-'))
  try {
    await test(root)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

/** Where a folder needs no disk: tests that make thousands of them are several times as fast there. */
export const memoryFolder: string = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

/** The names of the temporary files of all owners. */
export async function temporaries(root: string): Promise<string[]> {
  const found: string[] = []
  for (const entry of await readdir(join(root, '.tmp'), { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    for (const name of await readdir(join(root, '.tmp', entry.name))) {
      if (name !== 'alive') found.push(name)
    }
  }
  return found
}

/** How many files and folders under `root` this process holds open, beside its owner's folder. */
export async function openFiles(root: string): Promise<string[]> {
  const found: string[] = []
  for (const name of await readdir('/proc/self/fd')) {
    const path = await readlink(`/proc/self/fd/${name}`).catch(() => '')
    if (path.startsWith(`${root}/`) || path === root) {
      if (!/\/\.tmp\/[^/]+$/.test(path)) found.push(path)
    }
  }
  return found
}
