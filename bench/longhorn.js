// The programs of Longhorn's image, ours beside the original: LONGHORN_BIM=/path names its binary, and
// needs root and no /data. Without it the peer is the floor of doing one thing after the other: writing
// the same bytes durably, then hashing them.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { atLeast, mebibytes, median, seconds } from './figure.js'
import { adopt, clear, download, give, sync, upload } from './longhorn/cases.js'
import { makeInput, makeSparseInput, writeThenHash } from './longhorn/inputs.js'
import { originalSide, ours } from './longhorn/sides.js'
import { startNginx } from './nginx.js'
import { packageOfMissing, run, timed, warm } from './program.js'

export const tools = ['curl', 'nginx', 'dd', 'cat', 'gzip', 'sha512sum', 'sync']
export const diskBytes = 10 * 2 ** 30

const largeMebibytes = 2048
const middleMebibytes = 1024
const sparseMebibytes = 10_240
const dataMebibytes = 256
/** A case of which one side took longer is not measured again. */
const repeatMaxSeconds = 30

const { LONGHORN_BIM: binary = '' } = process.env

export async function measure({ folder, scale, rounds, say }) {
  if (binary === '') return await measureWith({ folder, scale, rounds, say })
  const missing = packageOfMissing(['unshare', 'mount', 'qemu-img'])
  if (missing !== undefined) throw new Error(`install ${missing}`)
  const original = originalSide(binary)
  process.once('exit', original.end)
  return await measureWith({ folder, scale, rounds, say, original })
}

async function measureWith({ folder, scale, rounds, say, original }) {
  mkdirSync(folder)
  const scaled = (count) => Math.ceil(count * scale)
  say('making the files')
  const large = await makeInput(join(folder, 'large'), scaled(largeMebibytes))
  const middle = await makeInput(join(folder, 'middle'), scaled(middleMebibytes))
  const [size, data] = [scaled(sparseMebibytes), scaled(dataMebibytes)]
  const sparse = await makeSparseInput(join(folder, 'sparse'), size, data)
  // Not before: the other benches need no gRPC.
  const { DaemonClient } = await import('../packages/daemon/dist/index.js')
  const nginx = await startNginx(join(folder, 'nginx'), folder, { isSingle: true })
  const url = `${nginx.url}/large`
  let verified = 0
  const giveOf = (input) => (side, at) => {
    // Once each; the bytes of the original are not ours to prove.
    const isVerified = side === ours && !(verified & (input === sparse ? 2 : 1))
    if (isVerified) verified |= input === sparse ? 2 : 1
    return give(side, at, input, DaemonClient, isVerified)
  }
  const syncOf = (input) => (side, at) => sync(side, at, input, DaemonClient)
  const cases = [
    [`upload, ${large.name}`, large, 2, (side, at) => upload(side, at, large)],
    [`download by a data source, the same`, large, 0, (side, at) => download(side, at, large, url)],
    [`Sync, ${middle.name}`, middle, 1.5, syncOf(middle)],
    [`Sync, ${sparse.name}`, sparse, 0, syncOf(sparse)],
    [`download to a client, ${middle.name}`, middle, 10, giveOf(middle)],
    [`download to a client, ${sparse.name}`, sparse, 10, giveOf(sparse)],
  ]
  const figures = []
  const options = { folder, rounds, say, original }
  for (const [what, input, goal, act] of cases) {
    figures.push(...(await compare(what, { input, goal, act, ...options })))
  }
  for (const way of ['without', 'with']) {
    const act = async (side, at) => (await adopt(side, at, DaemonClient))[way]
    figures.push(...(await compare(`Fetch of 50 small files ${way} .cfg`, { act, ...options })))
  }
  await nginx.stop()
  return figures
}

/** Both sides in turns, of which each round another is the first. */
async function compare(what, { input, goal, act, folder, rounds, say, original }) {
  const place = join(folder, 'place')
  const peer = original ?? (input && limitSide)
  const found = { ours: [], [peer?.name]: [] }
  for (let round = 0; round < rounds; round += 1) {
    const sides = peer ? [peer, ours] : [ours]
    for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
      clear(place)
      await run('sync', [])
      if (input) await warm(input.path)
      const one = side === limitSide ? await limit(input, place) : await act(side, place)
      found[side.name].push(one)
      say(`${what}, ${side.name}: ${seconds(one.seconds)}, ${mebibytes(one.peakBytes)}`)
    }
    const slowest = Math.max(...Object.values(found).map((all) => all.at(-1)?.seconds ?? 0))
    if (slowest > repeatMaxSeconds) break
  }
  clear(place)
  const own = summary(found.ours)
  if (!peer) return [{ what: `${what}: ${seconds(own.seconds)}, at most ${mebibytes(own.peak)}` }]
  return figuresOf(what, { own, other: summary(found[peer.name]), peer, goal })
}

/** Here a ratio tells how many times as fast ours is. */
function figuresOf(what, { own, other, peer, goal }) {
  const figures = [
    {
      what,
      ours: seconds(own.seconds),
      peer: `${seconds(other.seconds)} ${peer.name}`,
      ratio: other.seconds / own.seconds,
      ...(goal && peer !== limitSide && { goal: atLeast(goal) }),
    },
  ]
  if (peer === limitSide) return figures
  const [peak, otherPeak] = [mebibytes(own.peak), `${mebibytes(other.peak)} ${peer.name}`]
  const memory = { what: 'the same, peak VmHWM', ours: peak, peer: otherPeak }
  return [...figures, { ...memory, ratio: own.peak / other.peak }]
}

const limitSide = { name: 'write, then hash' }

async function limit(input, place) {
  const time = await timed(() => writeThenHash(input, join(place, 'written')))
  return { seconds: time, peakBytes: 0 }
}

function summary(all) {
  return {
    seconds: median(all.map((one) => one.seconds)),
    peak: Math.max(...all.map((one) => one.peakBytes)),
  }
}
