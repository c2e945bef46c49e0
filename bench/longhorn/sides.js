// The programs of Longhorn's image as two sides have them: the original, whose disk is always /data,
// in a mount namespace of its own where that is another folder; and ours.

import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { root } from '../../scripts/install.js'
import { freePort } from '../nginx.js'
import { begin } from '../program.js'
import { residentBytes } from '../server.js'

/** Where the original has its disk, whatever it is told. */
const originalDisk = '/data'
const startTimeoutMs = 20_000
const stopTimeoutMs = 5_000
/** Each daemon its own, away from the ranges that tests use. */
const firstPort = 27_001
const portsEach = 100
let lastRange = 0

const ownBinary = join(root, 'packages/server/bin/backing-image-manager.cjs')

export const ours = {
  name: 'ours',
  diskIn: (disk) => disk,
  command: (disk, args) => {
    const flags = (process.env.BENCH_NODE_FLAGS ?? '').split(' ').filter(Boolean)
    const own = ['--min-semi-space-size=16', ...flags, ownBinary]
    return [process.execPath, [...own, ...args, '--disk-path', disk]]
  },
}

/** `binary` is the original. Throws where it can not be run; `end` takes away what that needs. */
export function originalSide(binary) {
  if (process.getuid() !== 0) {
    throw new Error(`root is needed: LONGHORN_BIM has its disk at ${originalDisk}, by a mount`)
  }
  const isOwn = makeMountPoint()
  const end = () => {
    if (isOwn) rmdirSync(originalDisk)
  }
  const script = `mount --bind "$1" ${originalDisk} && shift && exec "$@"`
  return {
    name: 'original',
    diskIn: () => originalDisk,
    // Nothing is mounted outside of the process, whose id is that of the original itself.
    command: (disk, args) => ['unshare', ['-m', 'sh', '-c', script, 'sh', disk, binary, ...args]],
    end,
  }
}

/** Whether it was made. */
function makeMountPoint() {
  try {
    mkdirSync(originalDisk)
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
  }
  const [found] = readdirSync(originalDisk)
  if (found === undefined) return false
  throw new Error(`${originalDisk} has content of others, such as ${found}: it must be empty`)
}

/** A disk that Longhorn would know. */
export function makeDisk(folder) {
  mkdirSync(join(folder, 'backing-images'), { recursive: true })
  writeFileSync(join(folder, 'longhorn-disk.cfg'), '{"diskUUID":"bench-disk"}')
  return folder
}

/** Resolves when it takes calls. */
export async function startDaemon(side, disk) {
  const range = firstPort + (lastRange++ % 20) * portsEach
  const ports = ['--port-range', `${range}-${range + portsEach - 1}`]
  const { listen, syncListen, ...program } = await start(side, disk, ['daemon', ...ports])
  return { ...program, address: listen, files: `http://${syncListen}/v1/files` }
}

/** `flags` are those of the command line besides its name. Resolves when it listens. */
export async function startDataSource(side, disk, flags) {
  const named = ['data-source', '--name', 'bench', '--uuid', sourceUuid, ...flags]
  const { listen, ...program } = await start(side, disk, named)
  return { ...program, url: `http://${listen}/v1/file` }
}

export const sourceUuid = 'be0c0001'

async function start(side, disk, args) {
  const listen = `127.0.0.1:${await freePort()}`
  const syncListen = `127.0.0.1:${await freePort()}`
  const addresses = ['--listen', listen, '--sync-listen', syncListen]
  const [command, all] = side.command(disk, [...args, ...addresses])
  const logPath = `${disk}.log`
  const log = openSync(logPath, 'w')
  const child = begin(command, all, {
    stdio: ['ignore', log, log],
    env: { POD_IP: '127.0.0.1', DOWNLOAD_ALLOW: '127.0.0.0/8' },
  })
  closeSync(log)
  let hasEnded = false
  const ended = new Promise((resolve) => {
    child.on('close', resolve)
    child.on('error', resolve)
  })
  void ended.then(() => (hasEnded = true))
  const giveUpAtMs = performance.now() + startTimeoutMs
  while (!(await listens(listen))) {
    if (hasEnded || performance.now() > giveUpAtMs) {
      const last = readFileSync(logPath, 'utf8').trim().split('\n').slice(-3).join(' ')
      throw new Error(`${side.name} did not start: ${last}`)
    }
    await delay(10)
  }
  const stop = async () => {
    // Before the original gives up what it never does by itself.
    const timer = setTimeout(() => child.kill('SIGKILL'), stopTimeoutMs)
    child.kill('SIGTERM')
    await ended
    clearTimeout(timer)
  }
  return { listen, syncListen, stop, peakBytes: () => residentBytes(child.pid).peak }
}

async function listens(address) {
  const [host, port] = address.split(':')
  return await new Promise((resolve) => {
    const socket = createConnection({ host, port: Number(port) })
    socket.on('connect', () => resolve(true))
    socket.on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}
