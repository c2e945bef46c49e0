// A small real disk: a file with ext4 on it, mounted through a loop device.

import { existsSync, mkdirSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../machine.js'

/** Makes and mounts it. `folder` must be fresh, and on a disk with room for `sizeBytes`. */
export async function mountSmallDisk(folder, sizeBytes) {
  const image = join(folder, 'disk.ext4')
  const path = join(folder, 'disk')
  writeFileSync(image, '')
  truncateSync(image, sizeBytes)
  mkdirSync(path)
  await makeLoopDevices()
  try {
    // Without a share for root, which the server here is too.
    await run('mkfs.ext4', ['-q', '-F', '-m', '0', image])
    await run('mount', ['-t', 'ext4', '-o', 'loop', image, path])
  } catch (error) {
    throw new Error(
      `A file could not be mounted as a disk: ${error.message}\nThese tests need root, mkfs.ext4 ` +
        '(Debian: e2fsprogs), mount, and a kernel and container that allow loop devices.',
      { cause: error },
    )
  }
  return new SmallDisk(path)
}

/** In a container the nodes may be missing although the kernel has the devices. */
async function makeLoopDevices() {
  if (!existsSync('/dev/loop-control')) {
    await run('mknod', ['-m', '600', '/dev/loop-control', 'c', '10', '237']).catch(() => {})
  }
  for (let number = 0; number < 8; number += 1) {
    const node = `/dev/loop${number}`
    if (existsSync(node)) continue
    await run('mknod', ['-m', '660', node, 'b', '7', String(number)]).catch(() => {})
  }
}

class SmallDisk {
  constructor(path) {
    this.path = path
  }

  get freeBytes() {
    const { bavail, bsize } = statfsSync(this.path)
    return bavail * bsize
  }

  /** Another program takes every block that is left. */
  async fill(name = 'filler') {
    const file = join(this.path, name)
    const failure = await run('dd', ['if=/dev/zero', `of=${file}`, 'bs=64K']).catch((e) => e)
    // What is left is less than that: block by block.
    const args = ['if=/dev/zero', `of=${file}.rest`, 'bs=1K', 'oflag=sync']
    const rest = await run('dd', args).catch((e) => e)
    for (const each of [failure, rest]) {
      if (!/No space left/.test(each.stderr ?? '')) throw new Error(`dd did not fill it: ${each}`)
    }
  }

  /** Takes away what `fill` wrote. */
  empty(name = 'filler') {
    for (const each of [name, `${name}.rest`]) rmSync(join(this.path, each), { force: true })
  }

  /** Unmounts it, whoever still uses it; the loop device goes by itself. */
  async unmount() {
    await run('umount', [this.path]).catch(() => run('umount', ['--lazy', this.path]))
  }
}
