// One manager that syncs from another over loopback: how much of a changed image moves, against all of
// it by curl and what rsync moves; and a mostly empty image against the time of hashing it.

import {
  closeSync,
  copyFileSync,
  createReadStream,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { root } from '../scripts/install.js'
import { atMost, figure, inTurns, mebibytes, seconds } from './figure.js'
import { makeRandomFile, run, timed, warm } from './program.js'
import { rsyncTo, startRsync } from './rsync.js'
import { startServer, uploadBy } from './server.js'

export const tools = ['curl', 'rsync', 'sha512sum', 'cmp', 'dd', 'cat', 'sync']
export const diskBytes = 10 * 2 ** 30

const blockBytes = 4 * 2 ** 20
const changedMebibytes = 1024
const changedShare = 0.02
const sparseMebibytes = 10 * 1024
/** Each block of data is at the start of a stretch of so many. */
const sparseStretch = 10

export async function measure({ folder, scale, rounds, say }) {
  const place = join(folder, 'changed')
  mkdirSync(place, { recursive: true })
  const changed = await measureChanged({ folder: place, scale, rounds, say })
  rmSync(place, { recursive: true })
  const sparse = await measureSparse({ folder, scale, rounds, say })
  return [...changed, ...sparse]
}

async function measureChanged({ folder, scale, rounds, say }) {
  const files = join(folder, 'files')
  mkdirSync(files)
  const [older, newer, target] = ['older', 'newer', 'target'].map((name) => join(files, name))
  const blocks = Math.ceil((changedMebibytes * scale * 2 ** 20) / blockBytes)
  const sizeBytes = blocks * blockBytes
  say(`making and storing two versions of ${mebibytes(sizeBytes)}`)
  await makeRandomFile(older, sizeBytes / 2 ** 20)
  copyFileSync(older, newer)
  const changes = Math.max(1, Math.floor(blocks * changedShare))
  changeBlocks(newer, blocks, changes)
  const { sender, receiver, stop } = await startTwo(folder)
  for (const file of [older, newer]) await uploadBy(['-T', file, `${sender.images}/bench`])
  const { sha512 } = (await sync(receiver, sender, '1')).checksums
  const daemon = await startRsync(folder, files)
  const moved = {}
  const times = await inTurns({ rounds, say }, seconds, {
    sync: async () => {
      const image = await sync(receiver, sender, '2')
      if (image.checksums.sha512 === sha512) throw new Error('the older version came')
      await run('curl', ['-sS', '-f', '-X', 'DELETE', `${receiver.images}/bench?version=2`])
      moved.sync = image.movedBytes
      return image.seconds
    },
    curl: async () => {
      const url = `${sender.images}/bench/download?version=2`
      return await timed(async () => {
        await run('curl', ['-sS', '-f', '-o', target, url])
        await run('sync', [target])
      })
    },
    rsync: async () => {
      copyFileSync(older, target)
      await run('sync', [target])
      await warm(newer)
      return await timed(async () => {
        moved.rsync = await rsyncTo(daemon, 'newer', target)
        await run('sync', [target])
      })
    },
  })
  await run('cmp', [newer, target])
  await daemon.stop()
  await stop()
  const what = `${mebibytes(sizeBytes)}, ${changes} of ${blocks} blocks changed`
  return [
    figure({
      what: `${what}: moved`,
      ours: moved.sync,
      peer: sizeBytes,
      peerName: 'in all (curl)',
      show: mebibytes,
      goal: atMost(0.03),
    }),
    figure({
      what: 'the same',
      ours: moved.sync,
      peer: moved.rsync,
      peerName: 'rsync',
      show: mebibytes,
    }),
    figure({
      what: 'its time',
      ours: times.sync,
      peer: times.curl,
      peerName: 'curl',
      show: seconds,
    }),
    figure({
      what: 'the same',
      ours: times.sync,
      peer: times.rsync,
      peerName: 'rsync',
      show: seconds,
    }),
  ]
}

async function measureSparse({ folder, scale, rounds, say }) {
  const file = join(folder, 'sparse')
  const stretches = Math.ceil((sparseMebibytes * scale * 2 ** 20) / blockBytes / sparseStretch)
  const sizeBytes = stretches * sparseStretch * blockBytes
  say(
    `making and storing ${mebibytes(sizeBytes)}, of which ${mebibytes(sizeBytes / sparseStretch)} are data`,
  )
  makeSparseFile(file, stretches)
  const { sender, receiver, stop } = await startTwo(folder)
  const { checksums } = await uploadBy(['-T', file, `${sender.images}/bench`])
  const { Hasher } = await import(join(root, 'packages/core/dist/index.js'))
  const hasher = new Hasher()
  let movedBytes = 0
  const times = await inTurns({ rounds, say }, seconds, {
    sync: async () => {
      const image = await sync(receiver, sender, '1')
      await run('curl', ['-sS', '-f', '-X', 'DELETE', `${receiver.images}/bench`])
      movedBytes = image.movedBytes
      return image.seconds
    },
    sha512sum: async () => {
      await warm(file)
      return await timed(async () => {
        const [digest] = (await run('sha512sum', [file])).split(' ')
        if (digest !== checksums.sha512) throw new Error('a digest differs: the bytes are wrong')
      })
    },
    Hasher: async () => {
      await warm(file)
      return await timed(async () => {
        const source = createReadStream(file, { highWaterMark: 2 ** 20 })
        const hashing = hasher.digest(source, ['sha512', 'sha256', 'blocks'])
        for await (const piece of hashing.bytes) void piece
        const { sha512 } = await hashing.digests()
        if (sha512 !== checksums.sha512) throw new Error('a digest differs: the bytes are wrong')
      })
    },
  })
  await hasher.close()
  await stop()
  const what = `${mebibytes(sizeBytes)}, 1 in ${sparseStretch} of it data`
  return [
    figure({
      what: `${what}: moved`,
      ours: movedBytes,
      peer: sizeBytes / sparseStretch,
      peerName: 'of data',
      show: mebibytes,
      goal: atMost(1.02),
    }),
    figure({
      what: 'its time',
      ours: times.sync,
      peer: times.sha512sum,
      peerName: 'sha512sum',
      show: seconds,
      goal: atMost(1.2),
    }),
    figure({
      what: 'the same',
      ours: times.sync,
      peer: times.Hasher,
      peerName: 'our hashes alone',
      show: seconds,
    }),
  ]
}

async function startTwo(folder) {
  const sender = await startServer(join(folder, 'sender'))
  const receiver = await startServer(join(folder, 'receiver'), { DOWNLOAD_ALLOW: '127.0.0.1' })
  const stop = async () => {
    await receiver.stop()
    await sender.stop()
  }
  return { sender, receiver, stop }
}

/** The image, with the time that it took by the receiver's clock, and the bytes that the sender gave. */
async function sync(receiver, sender, version) {
  const before = await servedBytes(sender)
  const document = {
    name: 'bench',
    version,
    sourceType: 'sync',
    parameters: { from: sender.url, name: 'bench', version },
  }
  const json = ['-H', 'Content-Type: application/json', '-d', JSON.stringify(document)]
  let image = JSON.parse(await run('curl', ['-sS', '-f', ...json, receiver.images]))
  while (!['ready', 'failed'].includes(image.state)) {
    image = JSON.parse(await run('curl', ['-sS', '-f', `${image.links.self}&wait=60`]))
  }
  if (image.state === 'failed') throw new Error(image.message)
  const tookMs = Date.parse(image.updatedAt) - Date.parse(image.createdAt)
  const movedBytes = (await servedBytes(sender)) - before
  return { ...image, seconds: tookMs / 1000, movedBytes }
}

/** What the server has given to clients so far: of images and of their block indexes. */
async function servedBytes(server) {
  const text = await run('curl', ['-sS', '-f', `${server.url}/metrics`])
  const [, count] = /^backing_image_manager_served_bytes_total ([0-9.e+]+)$/m.exec(text) ?? []
  return Number(count)
}

/** Gives some blocks, one here and one there, other bytes. */
function changeBlocks(file, blocks, changes) {
  const descriptor = openSync(file, 'r+')
  for (let change = 0; change < changes; change += 1) {
    const block = Math.floor(((change + 0.5) * blocks) / changes)
    writeSync(descriptor, randomBytes(blockBytes), 0, blockBytes, block * blockBytes)
  }
  closeSync(descriptor)
}

/** One block of data at the start of each stretch. */
function makeSparseFile(file, stretches) {
  const descriptor = openSync(file, 'w')
  ftruncateSync(descriptor, stretches * sparseStretch * blockBytes)
  for (let stretch = 0; stretch < stretches; stretch += 1) {
    const at = stretch * sparseStretch * blockBytes
    writeSync(descriptor, randomBytes(blockBytes), 0, blockBytes, at)
  }
  closeSync(descriptor)
}
