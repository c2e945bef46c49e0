// What is timed of a side. Each case begins with fresh processes on an empty disk, and resolves with
// its seconds and the most memory that a process of the side had.

import { linkSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { run, timed, warm } from '../program.js'
import { makeDisk, sourceUuid, startDaemon, startDataSource } from './sides.js'

/** Between two looks at a state: short beside what is timed, and little work for who is timed. */
const pollMs = 50
const endTimeoutMs = 600_000
const smallFiles = 50
const smallBytes = 4096
const uuid = 'be0c0002'

/** A form from curl to a data source, until that could hand it over. */
export async function upload(side, folder, input) {
  const disk = makeDisk(join(folder, 'disk'))
  const source = await startDataSource(side, disk, ['--source-type', 'upload'])
  const seconds = await timed(async () => {
    const url = `${source.url}?action=upload&size=${input.size}`
    await run('curl', ['-sS', '-f', '-F', `chunk=@${input.path}`, url])
    await transferable(source, input)
  })
  return await ended(seconds, [source])
}

/** From the start of a data source that goes for `url` itself. */
export async function download(side, folder, input, url) {
  const disk = makeDisk(join(folder, 'disk'))
  let source
  const flags = ['--source-type', 'download', '--parameters', `url=${url}`]
  const seconds = await timed(async () => {
    source = await startDataSource(side, disk, flags)
    await transferable(source, input)
  })
  return await ended(seconds, [source])
}

async function transferable({ url }, input) {
  const find = async () => await (await fetch(url)).json()
  const isDone = ({ state, message }) => {
    if (state === 'failed') throw new Error(`the data source has failed: ${message}`)
    return state === 'ready-for-transfer'
  }
  const { currentChecksum, uuid: found } = await until(find, isDone)
  assertSame(currentChecksum, input)
  if (found !== sourceUuid) throw new Error(`the uuid is ${found}`)
}

/** A copy from one daemon's disk to another's. */
export async function sync(side, folder, input, Client) {
  const from = await startWith(side, join(folder, 'from'), input, Client)
  const to = await startDaemon(side, makeDisk(join(folder, 'to')))
  const client = new Client(to.address)
  const seconds = await timed(async () => {
    await client.sync({ name: 'bench', uuid, size: input.size, checksum: '' }, from.address)
    assertSame(await ready(client), input)
  })
  return await ended(seconds, [from, to])
}

/** To a client that throws it away; `isVerified` is asked for its digest instead, and not timed. */
export async function give(side, folder, input, Client, isVerified) {
  const daemon = await startWith(side, join(folder, 'disk'), input, Client)
  const path = join(side.diskIn(join(folder, 'disk')), `backing-images/bench-${uuid}/backing`)
  const url = `${daemon.files}/${encodeURIComponent(path)}/download`
  const seconds = await timed(() => run('curl', ['-sS', '-f', '-o', '/dev/null', url]))
  if (isVerified) {
    const script = 'curl -sS -f "$1" | gzip -dc | sha512sum'
    assertSame((await run('sh', ['-c', script, 'sh', url])).split(' ')[0], input)
  }
  return await ended(seconds, [daemon])
}

/** A daemon that has an input as its image, ready. */
async function startWith(side, folder, input, Client) {
  const disk = makeDisk(folder)
  const place = join(disk, `backing-images/bench-${uuid}`)
  mkdirSync(place)
  // The same file: neither side changes it.
  linkSync(input.path, join(place, 'backing'))
  const daemon = await startDaemon(side, disk)
  const client = new Client(daemon.address)
  await client.fetch({ name: 'bench', uuid, size: input.size, checksum: '' }, '')
  assertSame(await ready(client), input)
  await warm(input.path)
  return daemon
}

async function ready(client) {
  const isDone = ({ status }) => {
    if (status.state === 'failed') throw new Error(`the daemon has failed: ${status.error_msg}`)
    return status.state === 'ready' && status.checksum !== ''
  }
  const { status } = await until(() => client.get({ name: 'bench', uuid }), isDone)
  return status.checksum
}

/** Files that are on the disk already, all asked for at once; again by a daemon that finds its notes. */
export async function adopt(side, folder, Client) {
  const disk = makeDisk(join(folder, 'disk'))
  for (let index = 0; index < smallFiles; index += 1) {
    const place = join(disk, `backing-images/small-${index}-${smallUuid(index)}`)
    mkdirSync(place)
    writeFileSync(join(place, 'backing'), '')
    truncateSync(join(place, 'backing'), smallBytes)
  }
  const found = {}
  for (const way of ['without', 'with']) {
    const daemon = await startDaemon(side, disk)
    const seconds = await timed(() => adoptAll(new Client(daemon.address)))
    found[way] = await ended(seconds, [daemon])
  }
  return found
}

async function adoptAll(client) {
  const fetchOne = (_, index) => {
    const spec = { name: `small-${index}`, uuid: smallUuid(index), size: smallBytes, checksum: '' }
    return client.fetch(spec, '')
  }
  await Promise.all(Array.from({ length: smallFiles }, fetchOne))
  const isDone = (images) => {
    const states = Object.values(images).map(({ status }) => status.state)
    if (states.includes('failed')) throw new Error('a small file has failed')
    return states.filter((state) => state === 'ready').length === smallFiles
  }
  await until(() => client.list(), isDone)
}

function smallUuid(index) {
  return (0xbe1c0000 + index).toString(16)
}

async function ended(seconds, programs) {
  const peakBytes = Math.max(...programs.map((program) => program.peakBytes()))
  for (const program of programs) await program.stop()
  return { seconds, peakBytes }
}

async function until(find, isDone) {
  const giveUpAtMs = performance.now() + endTimeoutMs
  for (;;) {
    const found = await find()
    if (isDone(found)) return found
    if (performance.now() > giveUpAtMs) throw new Error('it takes too long')
    await delay(pollMs)
  }
}

function assertSame(sha512, input) {
  if (sha512 !== input.sha512) throw new Error('a digest differs: the bytes are wrong')
}

export function clear(folder) {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  mkdirSync(folder)
}
