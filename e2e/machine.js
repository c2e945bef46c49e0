// What these tests use of the machine that they run on: its programs, a folder for what is slow to
// make, and a folder of their own. Nothing is skipped: what is missing is a failure that names the
// Debian package.

import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

export const root = dirname(dirname(fileURLToPath(import.meta.url)))
export const grubImage = '/usr/lib/grub-rescue/grub-rescue-cdrom.iso'

const scratch = process.env.E2E_DIR || '/var/tmp/backing-image-e2e'
const packages = {
  buildah: 'buildah',
  cmp: 'diffutils',
  cryptsetup: 'cryptsetup-bin',
  curl: 'curl',
  debootstrap: 'debootstrap',
  'mkfs.ext4': 'e2fsprogs',
  rpcbind: 'rpcbind',
  podman: 'podman',
  'qemu-img': 'qemu-utils',
  'qemu-system-x86_64': 'qemu-system-x86',
  runc: 'runc',
  tar: 'tar',
  [grubImage]: 'grub-rescue-pc',
  '/usr/lib/cni/bridge': 'containernetworking-plugins',
  iptables: 'iptables',
  'qemu/block-curl.so': 'qemu-block-extra',
  'mount.nfs': 'nfs-common',
  'rpc.nfsd': 'nfs-kernel-server',
  ceph: 'ceph-common',
  'ceph-authtool': 'ceph-common',
  'ceph-mon': 'ceph-mon',
  'ceph-osd': 'ceph-osd',
  monmaptool: 'ceph-base',
  radosgw: 'radosgw',
  memcached: 'memcached',
  'swift-account-server': 'swift-account',
  'swift-container-server': 'swift-container',
  'swift-object-server': 'swift-object',
  'swift-proxy-server': 'swift-proxy',
  'swift-ring-builder': 'swift',
}

// Every program that is started has one for the end of this process.
process.setMaxListeners(100)

/** Throws one error that names the Debian package of everything that is missing. */
export function requireTools(...names) {
  if (process.getuid() !== 0) throw new Error('These tests make disks and containers: run as root.')
  const missing = names.filter((name) => !isThere(name)).map((name) => packages[name] ?? name)
  if (missing.length === 0) return
  throw new Error(`Missing on this machine. Run: apt-get install ${missing.join(' ')}`)
}

function isThere(name) {
  if (name.startsWith('/')) return existsSync(name)
  const folders = name.includes('/')
    ? readdirSync('/usr/lib').map((folder) => join('/usr/lib', folder))
    : [...process.env.PATH.split(':'), '/usr/sbin', '/sbin']
  return folders.some((folder) => existsSync(join(folder, name)))
}

/** A folder that stays from one run to the next, such as a Debian root. E2E_DIR moves it. */
export function keptFolder(name) {
  const folder = join(scratch, name)
  mkdirSync(folder, { recursive: true })
  return folder
}

/** A fresh folder on the same disk, and what takes it away again. */
export function freshFolder() {
  mkdirSync(scratch, { recursive: true })
  // Of runs that were cut short.
  for (const name of readdirSync(scratch)) {
    const [, pid] = /^run-(\d+)-/.exec(name) ?? []
    if (!pid || existsSync(`/proc/${pid}`)) continue
    try {
      removeFolder(join(scratch, name))
    } catch {
      // A disk is still mounted in it: that is for its owner to see to.
    }
  }
  const path = mkdtempSync(join(scratch, `run-${process.pid}-`))
  return { path, remove: () => removeFolder(path) }
}

function removeFolder(path) {
  rmSync(path, { recursive: true, force: true })
}

/** Starts a program that must not outlive the tests, however they end. */
export function startProcess(program, args, options = {}) {
  const child = spawn(program, args, options)
  const kill = () => child.kill('SIGKILL')
  process.on('exit', kill)
  child.on('exit', () => process.off('exit', kill))
  return child
}

/**
 * Runs a program to its end and resolves to what it wrote. Rejects with its output when it fails, or
 * takes longer than `timeoutMs`.
 */
export async function run(program, args, options = {}) {
  const { env, cwd, timeoutMs = 60_000 } = options
  try {
    const { stdout } = await promisify(execFile)(program, args, {
      cwd,
      env: { ...process.env, ...env },
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: 64 * 1024 * 1024,
    })
    return stdout
  } catch (error) {
    const how = error.killed ? `took over ${timeoutMs} ms` : `ended with ${error.code}`
    const output = `${error.stdout ?? ''}${error.stderr ?? ''}`.slice(-4000)
    const failure = new Error(`${program} ${args.join(' ')} ${how}.\n${output}`, { cause: error })
    throw Object.assign(failure, { code: error.code, stdout: error.stdout, stderr: error.stderr })
  }
}

/** What `run` rejects with; throws when the program succeeds. */
export async function failureOf(program, args, options) {
  const failure = await run(program, args, options).then(
    () => undefined,
    (error) => error,
  )
  if (failure === undefined) throw new Error(`${program} ${args.join(' ')} succeeded.`)
  return failure
}

/** Asks until the answer is neither false nor undefined, at most for `timeoutMs`. */
export async function until(what, ask, timeoutMs = 30_000) {
  const endsAt = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (performance.now() > endsAt) throw new Error(`Not within ${timeoutMs} ms: ${what}.`)
    await delay(100)
  }
}

/** A TCP port of this machine that nobody listens on. */
export async function freePort() {
  const server = createServer()
  await new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** The server as `npm start` runs it, on a free port, with its images in `folder`. */
export async function startServer(folder, env = {}, args = []) {
  const server = startProcess(
    process.execPath,
    [join(root, 'packages/server/bin/backing-image-manager.cjs'), 'serve', ...args],
    {
      env: {
        ...process.env,
        HOST: '127.0.0.1',
        PORT: '0',
        BACKING_IMAGE_STORAGE_PATH: folder,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    },
  )
  let log = ''
  for (const stream of [server.stdout, server.stderr]) stream.on('data', (text) => (log += text))
  const ended = new Promise((resolve) => server.on('exit', (code) => resolve(code)))
  const url = await new Promise((resolve, reject) => {
    server.on('message', (message) => resolve(message.url))
    void ended.then((code) => reject(new Error(`The server ended with ${code}.\n${log}`)))
  })
  const { port } = new URL(url)
  return {
    url: `http://localhost:${port}`,
    port,
    /** Resolves to its exit code. */
    stop: async () => {
      if (server.exitCode !== null) throw new Error(`The server has ended by itself.\n${log}`)
      server.kill('SIGTERM')
      return await ended
    },
  }
}
