// Disks of Longhorn with real daemons and data sources on them, as longhorn-manager starts them.

import { createHash } from 'node:crypto'
import { createReadStream, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { ftruncateSync, closeSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { DaemonClient } from '../../packages/daemon/dist/index.js'
import { freePort, root, run, startProcess, until } from '../machine.js'

const binary = join(root, 'packages/server/bin/backing-image-manager.cjs')
const diskUuid = 'b7c2bf16-6f5b-4d2c-9a5f-0d7b6d9f3c11'

/** A folder that is a disk of Longhorn. */
export function makeDisk(parent, name) {
  const path = join(parent, name)
  mkdirSync(path)
  writeFileSync(join(path, 'longhorn-disk.cfg'), JSON.stringify({ diskUUID: diskUuid }))
  return path
}

async function start(args, readyUrl) {
  const env = { ...process.env, POD_IP: '127.0.0.1', DOWNLOAD_ALLOW: '127.0.0.0/8' }
  const child = startProcess(process.execPath, [binary, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (log += text))
  const ended = new Promise((resolve) => child.on('exit', (code) => resolve(code)))
  await until(`${args[0]} answers`, async () => {
    if (child.exitCode !== null) throw new Error(`${args[0]} ended with ${child.exitCode}.\n${log}`)
    return await readyUrl().then(
      () => true,
      () => false,
    )
  })
  return {
    log: () => log,
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
    stop: async () => {
      child.kill('SIGTERM')
      return await ended
    },
  }
}

/** The ports of receivers are different for each, since all are on one machine. */
export async function startDaemon(disk, portRange) {
  const [port, syncPort] = [await freePort(), await freePort()]
  const address = `127.0.0.1:${port}`
  const client = new DaemonClient(address)
  const listen = ['--listen', address, '--sync-listen', `127.0.0.1:${syncPort}`]
  const args = ['daemon', ...listen, '--disk-path', disk, '--port-range', portRange]
  const program = await start(args, () => client.version())
  return { ...program, address, client, files: `http://127.0.0.1:${syncPort}/v1/files` }
}

export async function startDataSource(disk, { name, uuid, type, parameters = {}, more = [] }) {
  const [port, syncPort] = [await freePort(), await freePort()]
  const address = `127.0.0.1:${port}`
  const url = `http://${address}/v1/file`
  const listen = ['--listen', address, '--sync-listen', `127.0.0.1:${syncPort}`]
  const pairs = Object.entries(parameters).flatMap(([key, value]) => [
    '--parameters',
    `${key}=${value}`,
  ])
  const what = ['--name', name, '--uuid', uuid, '--source-type', type, ...pairs, ...more]
  const args = ['data-source', ...listen, '--disk-path', disk, ...what]
  const program = await start(args, () => fetch(url))
  return { ...program, address, url, info: async () => await (await fetch(url)).json() }
}

/** A sparse file: some data at its start, in its middle and at its end. */
export function makeImage(path, sizeBytes, data) {
  const file = openSync(path, 'w')
  ftruncateSync(file, sizeBytes)
  for (const at of [0, Math.floor(sizeBytes / 8192) * 4096, sizeBytes - data.length]) {
    writeSync(file, data, 0, data.length, at)
  }
  closeSync(file)
}

export async function sha512Of(path) {
  const hash = createHash('sha512')
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash)
  return hash.digest('hex')
}

/** The form that Longhorn sends, by curl. */
export async function upload(url, path, size) {
  await run('curl', [
    '-sSf',
    '-F',
    `chunk=@${path};filename=blob`,
    `${url}?action=upload&size=${size}`,
  ])
}

export async function becomes(state, ask, timeoutMs = 60_000) {
  let last
  await until(
    `it is ${state}`,
    async () => {
      last = await ask()
      const now = last.state ?? last.status.state
      if (now === 'failed' && state !== 'failed') throw new Error(JSON.stringify(last))
      return now === state
    },
    timeoutMs,
  )
  return last
}
