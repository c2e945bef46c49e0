// Runs in a guest that has an NFS mount (nfs.sh): its NFS server stops in the middle of uploads, deletes
// and rollbacks and comes back, again and again, while the same server process goes on. The model knows
// what was acknowledged. (outage.js measures one outage; here only generous limits are set.)
//
//   node outages.js ROUNDS SEED

import { setTimeout as delay } from 'node:timers/promises'
import { between, seeded } from '../durability/bodies.js'
import { listPath, request } from '../durability/client.js'
import { Counts, Load } from '../durability/load.js'
import { Model } from '../durability/model.js'
import { NfsPlace } from '../durability/place.js'
import { Review } from '../durability/review.js'
import { ServerProcess } from '../durability/server.js'
import { startNfsServer, stopNfsServer } from './nfs-server.js'

const [rounds, seed] = process.argv.slice(2).map(Number)
const random = seeded(seed)
const counts = new Counts()
const model = new Model()
const review = new Review(model, random)
const place = new NfsPlace('/mnt/nfs')
const healthMostMs = 10_000
const refusalMostMs = 30_000
const recoveryMostMs = 90_000
const settledTimeoutMs = 180_000

/** While nobody answers: the process is well. */
async function lookDuringOutage(url, untilAt) {
  const faults = []
  while (performance.now() < untilAt) {
    const { status } = await request(`${url}/health`, { timeoutMs: healthMostMs })
    if (status !== 200) faults.push(`/health in the outage: ${status}`)
    await delay(500)
  }
  return faults
}

/** A request that needs the storage is refused soon, or answered when the storage is back. */
async function refusal(url) {
  const { status, headers } = await request(`${url}${listPath}/nobody`, {
    timeoutMs: refusalMostMs,
  })
  counts.add('asked in the outage', status)
  if (status === 404 || (status === 503 && headers['retry-after'] !== undefined)) return []
  return [`a request in the outage: ${status}, Retry-After ${headers['retry-after']}`]
}

async function recovery(url) {
  const beganAt = performance.now()
  for (;;) {
    const { status } = await request(`${url}${listPath}/nobody`)
    if (status === 404) return []
    const tookMs = performance.now() - beganAt
    if (tookMs > recoveryMostMs) return [`${status} still ${tookMs} ms after the server was back`]
    await delay(200)
  }
}

async function round(url, number) {
  const load = new Load({ url, model, random, counts, label: `${seed} ${number}`, largestMiB: 2 })
  const running = load.run()
  await load.hasAcknowledged(between(random, 0, 3), 20_000)
  await delay(between(random, 0, 1500))
  stopNfsServer()
  const outageMs = between(random, 3000, 20_000)
  const looks = lookDuringOutage(url, performance.now() + outageMs)
  const refused = refusal(url)
  const faults = await looks
  await startNfsServer()
  faults.push(...(await refused), ...(await recovery(url)))
  counts.add('outage', outageMs > 10_000 ? 'long' : 'short')
  load.stop()
  await running
  return [...faults, ...load.faults, ...(await review.faults(url, 2))]
}

async function lastLook(url) {
  const endsAt = performance.now() + settledTimeoutMs
  let left = await place.leftovers()
  while (left.length > 0 && performance.now() < endsAt) {
    await delay(1000)
    left = await place.leftovers()
  }
  return [...left, ...(await review.faults(url, Infinity))]
}

async function outages() {
  const server = new ServerProcess(place.folder, place.env)
  try {
    const url = await server.listening()
    for (let number = 1; number <= rounds; number += 1) {
      const faults = await round(url, number)
      if (faults.length > 0) return [`outage ${number}:`, ...faults, server.log]
    }
    const faults = await lastLook(url)
    return faults.length > 0 ? [...faults, server.log] : []
  } finally {
    await server.kill()
  }
}

const faults = await outages()
console.log(`  ${counts.toString()}`)
if (!counts.isAcknowledged) faults.push('no upload was acknowledged')
for (const fault of faults) console.log(`  FAULT ${fault}`)
process.exit(faults.length > 0 ? 1 : 0)
