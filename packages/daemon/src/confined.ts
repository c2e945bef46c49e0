// A disk on which no symbolic link leads elsewhere: a folder that somebody made one would have us write,
// or delete, in the middle of the host.

import { join, relative, sep } from 'node:path'
import type { GuardedDisk } from '@backing-image/backend-local'
import { ImageError, isImageError } from '@backing-image/core'

/**
 * `disk`, but a path outside of `root`, or below a link in it, is `failed_precondition`. A link at the
 * end of a path is never followed: what is asked of it is asked of the link.
 */
export function confined(disk: GuardedDisk, root: string): GuardedDisk {
  const assertWithin = async (path: string): Promise<void> => {
    const [...parts] = relative(root, path).split(sep)
    if (parts[0] === '..') throw refused(path, `it is not under ${root}`)
    parts.pop()
    let folder = root
    for (const part of parts) {
      folder = join(folder, part)
      if (await isLink(disk, folder)) throw refused(path, `${folder} is a symbolic link`)
    }
  }
  const within = async <T>(path: string, work: () => Promise<T>): Promise<T> => {
    await assertWithin(path)
    return await work()
  }
  const withinBoth = async (from: string, to: string, work: () => Promise<void>): Promise<void> =>
    await within(from, async () => await within(to, work))
  return {
    get returning() {
      return disk.returning
    },
    open: (path, flags, mode) => within(path, () => disk.open(path, flags, mode)),
    link: (from, path) => withinBoth(from, path, () => disk.link(from, path)),
    rename: (from, path) => withinBoth(from, path, () => disk.rename(from, path)),
    unlink: (path) => within(path, () => disk.unlink(path)),
    mkdir: (path, mode) => within(path, () => disk.mkdir(path, mode)),
    rmdir: (path) => within(path, () => disk.rmdir(path)),
    readdir: (path) => within(path, () => disk.readdir(path)),
    lstat: (path) => within(path, () => disk.lstat(path)),
    statfs: (path) => within(path, () => disk.statfs(path)),
  }
}

async function isLink(disk: GuardedDisk, path: string): Promise<boolean> {
  try {
    return (await disk.lstat(path)).isSymbolicLink()
  } catch (error) {
    // The call itself will tell.
    if (isImageError(error, 'not_found')) return false
    throw error
  }
}

function refused(path: string, why: string): ImageError {
  return new ImageError(
    'failed_precondition',
    `${path} leads off the disk: ${why}. Put a folder or a mount in its place.`,
  )
}
