// The real server on a folder and a port of its own, with what is asked of it by curl.

import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../scripts/install.js'
import { begin, run } from './program.js'

const binary = join(root, 'packages/server/bin/backing-image-manager.cjs')

/**
 * Starts the server on a storage folder that need not exist. Resolves when it says that it listens;
 * `startedAtMs` is the moment before its process was made.
 */
export async function startServer(storage, variables = {}) {
  mkdirSync(storage, { recursive: true })
  const logPath = `${storage}.log`
  const log = openSync(logPath, 'w')
  const startedAtMs = performance.now()
  const flags = (process.env.BENCH_NODE_FLAGS ?? '').split(' ').filter(Boolean)
  const child = begin(process.execPath, ['--min-semi-space-size=16', ...flags, binary, 'serve'], {
    stdio: ['ignore', log, log, 'ipc'],
    // Nothing of the caller's own server.
    env: {
      HOST: '127.0.0.1',
      PORT: '0',
      BACKING_IMAGE_STORAGE_PATH: storage,
      ...variables,
    },
  })
  closeSync(log)
  const ended = new Promise((resolve) => {
    child.on('close', resolve)
    child.on('error', resolve)
  })
  const url = await new Promise((resolve, reject) => {
    child.once('message', (message) => resolve(message.url))
    child.once('close', () => {
      const last = readFileSync(logPath, 'utf8').trim().split('\n').slice(-3).join(' ')
      reject(new Error(`the server ended: ${last}`))
    })
  })
  const stop = async () => {
    child.kill('SIGTERM')
    await ended
  }
  return { url, images: `${url}/v1/backing-images`, pid: child.pid, storage, startedAtMs, stop }
}

/** `curl` with the arguments of an upload; resolves with the image. Throws unless it is a 201. */
export async function uploadBy(args) {
  return parseStored(await run('curl', [...uploadFlags, ...args]))
}

export const uploadFlags = ['-sS', '-w', '\\n%{http_code}']

/** The image in what curl printed. */
export function parseStored(output) {
  const end = output.lastIndexOf('\n')
  const status = output.slice(end + 1)
  if (status !== '201') throw new Error(`the upload was answered with ${status}: ${output}`)
  return JSON.parse(output.slice(0, end))
}

export async function removeImage(server, { name }) {
  await run('curl', ['-sS', '-f', '-X', 'DELETE', `${server.images}/${name}`])
}

/** The folder in which the server keeps the bytes of an image (docs/layout.md). */
export function folderOf(server, { name, uuid }) {
  return join(server.storage, `${name}-${uuid}`)
}

/** Resident bytes of a process, now and at most (proc(5)); both count the pages of its program too. */
export function residentBytes(pid) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
  return { now: field('VmRSS'), peak: field('VmHWM') }
}
