// A whole Debian as a folder, made by debootstrap from the mirror that this machine uses itself. Disk
// images and the base images of containers are made of it.

import { existsSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { keptFolder, run } from './machine.js'

const suite = 'bookworm'
/** What Debian's own slim images leave out, too. */
const dispensable = [
  'usr/share/doc',
  'usr/share/man',
  'usr/share/locale',
  'usr/share/info',
  'usr/share/lintian',
  'var/cache/apt',
  'var/lib/apt/lists',
]

/** The folder of a minimal Debian. It is made once, in about a minute, and then kept. */
export async function debianRoot() {
  const folder = join(keptFolder('debian'), suite)
  if (existsSync(folder)) return folder
  const unfinished = `${folder}.new`
  rmSync(unfinished, { recursive: true, force: true })
  const args = ['--variant=minbase', suite, unfinished, await mirror()]
  await run('debootstrap', args, { timeoutMs: 600_000 })
  for (const path of dispensable) {
    await run('find', [join(unfinished, path), '-mindepth', '1', '-delete'])
  }
  renameSync(unfinished, folder)
  return folder
}

async function mirror() {
  const format = '$(RELEASE) $(REPO_URI)'
  const targets = await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages'])
  const [, uri] = new RegExp(`^${suite} (\\S+)$`, 'm').exec(targets) ?? []
  if (uri) return uri
  throw new Error(
    `The package sources of this machine have no ${suite}: add it to its apt sources.`,
  )
}

/**
 * Writes that Debian, or `part` of it, to `path` as a raw ext4 disk of `sizeBytes`, a sparse file.
 * Resolves to how many bytes it really takes.
 */
export async function makeDebianDisk(path, sizeBytes, part = '') {
  const folder = join(await debianRoot(), part)
  const blocks = sizeBytes / 4096
  // Without the lazy parts, so that the disk is as it would be after an installation.
  const options = ['-q', '-F', '-b', '4096', '-E', 'lazy_itable_init=0', '-L', 'root', '-d', folder]
  await run('/usr/sbin/mkfs.ext4', [...options, path, String(blocks)])
  return statSync(path).blocks * 512
}
