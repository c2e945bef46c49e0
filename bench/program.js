// Other programs that a bench runs and times: the peers, the clients, the server. All that are
// still running can be ended at once.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The Debian package of each tool. */
const packages = {
  cat: 'coreutils',
  'ceph-mon': 'ceph-mon',
  'ceph-osd': 'ceph-osd',
  cmp: 'diffutils',
  curl: 'curl',
  dd: 'coreutils',
  du: 'coreutils',
  gzip: 'gzip',
  mount: 'mount',
  nginx: 'nginx-light',
  openssl: 'openssl',
  'qemu-img': 'qemu-utils',
  radosgw: 'radosgw ceph-common',
  rclone: 'rclone',
  rsync: 'rsync',
  sha512sum: 'coreutils',
  sync: 'coreutils',
  unshare: 'util-linux',
}

/** Daemons live where the PATH of a user does not lead. */
const path = `${process.env.PATH}${delimiter}/usr/sbin${delimiter}/sbin`
const running = new Set()
const shownBytes = 2000

/** The packages to install for those of the tools that are not there; undefined when all are. */
export function packageOfMissing(tools) {
  const folders = path.split(delimiter)
  const missing = tools.filter((tool) => !folders.some((folder) => existsSync(join(folder, tool))))
  return missing.length > 0 ? missing.map((tool) => packages[tool]).join(' ') : undefined
}

/** Starts a program that `endAll` ends, if nobody else did before. */
export function begin(command, args, options) {
  const child = spawn(command, args, { ...options, env: { PATH: path, ...options.env } })
  running.add(child)
  child.on('close', () => running.delete(child))
  child.on('error', () => running.delete(child))
  return child
}

export function endAll() {
  for (const child of running) child.kill('SIGKILL')
}

/** Runs a program to its end; resolves with what it printed. Throws when it fails. */
export async function run(command, args) {
  const child = begin(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let complaint = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (complaint = `${complaint}${chunk}`.slice(-shownBytes)))
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (exitCode, signal) => resolve(exitCode ?? signal))
  })
  if (code === 0) return output
  throw new Error(`${command} ended with ${code}: ${complaint.trim()}`)
}

/** How long `work` takes, in seconds. */
export async function timed(work) {
  const startedAtMs = performance.now()
  await work()
  return (performance.now() - startedAtMs) / 1000
}

/** Reads a file into the page cache, so that neither side is the first to need the disk. */
export async function warm(file) {
  const child = begin('cat', [file], { stdio: 'ignore' })
  await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
}

/** A new file of random bytes, on the disk when it resolves. */
export async function makeRandomFile(file, mebibytes) {
  const to = [`of=${file}`, 'bs=1M', `count=${mebibytes}`, 'iflag=fullblock', 'conv=fsync']
  await run('dd', ['if=/dev/urandom', ...to])
}
