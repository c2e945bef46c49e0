// Runs in a guest whose /mnt/nfs is an NFS mount (nfs.sh): a gateway under load, while the NFS server
// goes away and comes back. Everything that is claimed of an outage is measured and judged here.
//
//   node outage.js SECONDS WORDS

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { randomBody } from '../durability/bodies.js'
import { download, getJson, listImages, put, request, sha512Of } from '../durability/client.js'
import { root } from '../machine.js'
import { Journal } from '../replicas/journal.js'
import { startNfsServer, stopNfsServer } from './nfs-server.js'

const outageMs = Number(process.argv[2]) * 1000
const label = process.argv[3]
const type = process.env.OUTAGE_BACKEND || 'nfs'
const folder = '/mnt/nfs/images'
const mebibyte = 1024 * 1024

/** What is promised. */
const storageAnswerMsMax = 10_000
const recoveryMsMax = 10_000
/**
 * What needs no storage is promised within 100 ms, by a gateway that has a processor. This guest has one
 * for the load, the gateway, the NFS server and this script, and so is compared with itself: an outage
 * may add that much to what the same question took before it, and never make it wait for the storage.
 * For as long as this script could not run, all limits are longer.
 */
const memoryMsMax = 100
const memoryLatestMsMax = 2_000
const graceMs = 2_000
const endMsMax = graceMs + 12_000
const logLinesPerSecondMax = 5

const faults = []
const fault = (text) => faults.push(text)
const journal = new Journal()

class Gateway {
  log = ''

  constructor() {
    this.child = spawn(
      process.execPath,
      [join(root, 'packages/server/bin/backing-image-manager.cjs'), 'serve'],
      {
        env: {
          PATH: process.env.PATH,
          HOST: '127.0.0.1',
          PORT: '0',
          STORAGE_BACKEND_TYPE: type,
          BACKING_IMAGE_STORAGE_PATH: folder,
          SHUTDOWN_GRACE_PERIOD: `${graceMs / 1000}s`,
        },
        stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      },
    )
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.on('data', (text) => (this.log += text))
    }
    this.exited = once(this.child, 'exit').then(([code, signal]) => code ?? signal)
  }

  async listening() {
    const [message] = await Promise.race([
      once(this.child, 'message'),
      this.exited.then((end) => Promise.reject(new Error(`It ended: ${end}\n${this.log}`))),
    ])
    this.url = message.url
  }
}

/** Requests of one kind, each with its time and answer. */
const done = []
const stopping = new AbortController()
const acknowledged = new Map()

async function timed(kind, work) {
  const startedAt = performance.now()
  let status = 'cut'
  let retryAfter
  try {
    const answer = await work()
    status = answer.status
    retryAfter = answer.headers?.['retry-after']
    return answer
  } catch {
    return undefined
  } finally {
    const endedAt = performance.now()
    done.push({ kind, status, retryAfter, startedAt, endedAt, ms: endedAt - startedAt })
  }
}

async function again(pauseMs, work) {
  for (let count = 0; !stopping.signal.aborted; count += 1) {
    await work(count)
    await delay(pauseMs)
  }
}

async function upload(url, name, size) {
  const body = randomBody(name, size)
  const answer = await timed('upload', () => put(url, name, body, { timeoutMs: 120_000 }))
  if (answer?.status === 201) acknowledged.set(name, sha512Of(body))
}

/** A client that sends slowly, so that every outage meets it in the middle. */
async function slowUpload(url, name) {
  async function* pieces() {
    for (let count = 0; count < 400 && !stopping.signal.aborted; count += 1) {
      yield randomBody(`${name} ${count}`, mebibyte / 2)
      await delay(200)
    }
  }
  await timed('slow upload', () => put(url, name, pieces(), { timeoutMs: 120_000 }))
}

function startLoad(url) {
  const get = (kind, path) => timed(kind, () => request(`${url}${path}`, { timeoutMs: 60_000 }))
  const images = '/v1/backing-images'
  return Promise.all([
    again(150, () => get('health', '/health')),
    again(500, () => get('ready', '/ready')),
    again(1000, () => get('metrics', '/metrics')),
    again(1000, () => get('openapi', '/openapi.json')),
    again(1000, () => get('no path', '/no/such/path')),
    again(1000, (count) => upload(url, `upload-a-${count}`, mebibyte)),
    again(1000, (count) => upload(url, `upload-b-${count}`, 3 * mebibyte)),
    again(500, () => get('list', images)),
    again(500, () => get('get', `${images}/base-0`)),
    again(700, () => get('download', `${images}/base-1/download`)),
    again(700, () => get('versions', `${images}/base-2/versions`)),
    again(1000, (count) => slowUpload(url, `slow-${count}`)),
  ])
}

function told(times) {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share) => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0)
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) }
}

const memoryKinds = ['health', 'ready', 'metrics', 'openapi', 'no path']

function judge(stoppedAt, startedAt) {
  const during = done.filter((each) => each.endedAt > stoppedAt && each.startedAt < startedAt)
  const before = done.filter((each) => each.endedAt < stoppedAt)
  for (const kind of new Set(done.map((each) => each.kind))) {
    const of = (list) => list.filter((each) => each.kind === kind)
    const statuses = {}
    for (const { status } of of(during)) statuses[status] = (statuses[status] ?? 0) + 1
    const line = JSON.stringify({
      before: told(of(before).map((each) => each.ms)),
      during: told(of(during).map((each) => each.ms)),
      statuses,
    })
    console.log(`  ${kind}: ${line}`)
    if (!memoryKinds.includes(kind)) continue
    const own = of(during).map((each) => each.ms - journal.lateMs(each.startedAt, each.endedAt))
    const { p50, max } = told(own)
    const usual = told(of(before).map((each) => each.ms)).p50
    if (p50 > usual + memoryMsMax) fault(`${kind} took ${p50} ms, and ${usual} ms before.`)
    if (max > memoryLatestMsMax) fault(`${kind} took up to ${max} ms.`)
  }
  // How long this one processor keeps everybody waiting, whatever the storage does.
  const slownessMs = told(
    during.filter(({ kind }) => memoryKinds.includes(kind)).map((each) => each.ms),
  ).max
  let latestMs = 0
  for (const { kind, status, retryAfter, startedAt: begun, endedAt } of during) {
    if (memoryKinds.includes(kind)) continue
    const from = Math.max(begun, stoppedAt)
    const waitedMs = endedAt - from - journal.lateMs(from, endedAt)
    latestMs = Math.max(latestMs, waitedMs)
    if (waitedMs > storageAnswerMsMax + slownessMs) {
      fault(`${kind} was answered ${status} after ${waitedMs} ms.`)
    }
    if (status === 503 && !(Number(retryAfter) > 0)) fault(`${kind}: 503 without Retry-After.`)
    if (![200, 201, 503, 'cut'].includes(status)) fault(`${kind} was answered ${status}.`)
    if (status === 'cut' && kind !== 'download') fault(`${kind} was cut.`)
  }
  console.log(`  latest answer that needs the storage: after ${latestMs.toFixed()} ms`)
  if (!during.some(({ kind, status }) => kind === 'slow upload' && status === 503)) {
    fault('No upload in its middle was answered 503.')
  }
}

async function outage(gateway) {
  const { url } = gateway
  const load = startLoad(url)
  await delay(6_000)
  const linesBefore = gateway.log.split('\n').length
  const stoppedAt = performance.now()
  stopNfsServer()
  await delay(outageMs / 2)
  const ready = await request(`${url}/ready`)
  console.log(`  /ready in the outage: ${ready.status} ${ready.body}`)
  if (ready.status !== 503) fault('/ready is not 503.')
  if (!/has not answered since|failed with/.test(ready.body)) fault('/ready does not say why.')
  await delay(outageMs - (performance.now() - stoppedAt))
  const lines = gateway.log.split('\n').length - linesBefore
  console.log(`  lines in the log: ${lines}`)
  if (lines > (logLinesPerSecondMax * outageMs) / 1000) fault(`${lines} lines were logged.`)
  const startedAt = performance.now()
  await startNfsServer()
  const wellMs = {}
  for (const kind of ['upload', 'download', 'list', 'get', 'ready']) {
    const isWell = () =>
      done.some((each) => each.kind === kind && each.status < 300 && each.endedAt > startedAt)
    while (!isWell() && performance.now() - startedAt < 120_000) await delay(20)
    wellMs[kind] = Math.round(performance.now() - startedAt)
    const ownMs = wellMs[kind] - journal.lateMs(startedAt, Infinity)
    if (ownMs > recoveryMsMax) fault(`${kind} was well only after ${wellMs[kind]} ms.`)
  }
  console.log(`  well again after: ${JSON.stringify(wellMs)}`)
  await delay(3_000)
  stopping.abort()
  await load
  const late = done.filter((each) => each.startedAt > startedAt + recoveryMsMax)
  for (const { kind, status } of late) {
    if (!(status < 300) && kind !== 'no path') fault(`${kind} was answered ${status} afterwards.`)
  }
  judge(stoppedAt, startedAt)
}

/** Everything that was acknowledged is there, and everything that is listed is whole. */
async function review(url) {
  const listed = new Map()
  for (const image of await listImages(url)) {
    if (image.state !== 'ready') continue
    listed.set(image.name, image.currentChecksum)
    const { sha512 } = await download(url, image.name, image.version)
    if (sha512 !== image.currentChecksum) fault(`${image.name} has other bytes.`)
  }
  for (const [name, sha512] of acknowledged) {
    if (listed.get(name) !== sha512) fault(`${name} was acknowledged, and is not there.`)
  }
  console.log(`  acknowledged: ${acknowledged.size}, listed: ${listed.size}`)
}

/** SIGTERM while the NFS server is away again. */
async function endInOutage(gateway) {
  stopNfsServer()
  const waiting = listImages(gateway.url).catch(() => {})
  await delay(1_000)
  const startedAt = performance.now()
  gateway.child.kill('SIGTERM')
  const isOver = Promise.race([gateway.exited, delay(60_000, 'alive')])
  const end = await isOver
  const tookMs = Math.round(performance.now() - startedAt)
  console.log(`  SIGTERM in an outage: ended with ${end} after ${tookMs} ms`)
  if (![0, 'SIGKILL'].includes(end)) fault(`The gateway ended with ${end}.`)
  if (tookMs - journal.lateMs(startedAt, Infinity) > endMsMax)
    fault(`The gateway ended only after ${tookMs} ms.`)
  await startNfsServer()
  await waiting
}

console.log(`  ${label}, ${type}`)
mkdirSync(folder, { recursive: true })
const gateway = new Gateway()
await gateway.listening()
for (let count = 0; count < 4; count += 1) {
  await upload(gateway.url, `base-${count}`, 4 * mebibyte)
}
await outage(gateway)
await review(gateway.url)
await endInOutage(gateway)
const next = new Gateway()
await next.listening()
await review(next.url)
const { message } = await getJson(`${next.url}/ready`)
if (message !== '') fault(`/ready afterwards: ${message}`)
next.child.kill('SIGTERM')
const end = await next.exited
if (end !== 0) fault(`The next gateway ended with ${end}.\n${next.log}`)
for (const text of faults.slice(0, 40)) console.log(`  FAULT ${text}`)
if (faults.length > 0) console.log(gateway.log.slice(-6000))
process.exit(faults.length > 0 ? 1 : 0)
