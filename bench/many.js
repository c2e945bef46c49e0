// A store of very many images: how long the server takes to be ready on it, and to list a page of it.

import { mkdirSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import {
  atMost,
  figure,
  inTurns,
  median,
  milliseconds,
  quantile,
  seconds,
  under,
} from './figure.js'
import { seedStore } from './seed.js'
import { startServer } from './server.js'

export const tools = []
export const diskBytes = 2 ** 30

const images = 10_000
const startMaxSeconds = 2
const listMaxMs = 25
const pageLength = 100
const requests = 2500
/** A list is at most 5 s old: after this time the next one looks at the whole store again. */
const quietMs = 5500

export async function measure({ folder, scale, rounds, say }) {
  mkdirSync(folder)
  const count = Math.ceil(images * scale)
  const single = join(folder, 'single')
  const double = join(folder, 'double')
  say(`making stores of ${count} and ${2 * count} images`)
  await seedStore(single, count)
  await seedStore(double, 2 * count)
  const starts = await inTurns({ rounds, say }, seconds, {
    [`start with ${count} images`]: () => startTime(single),
    [`start with ${2 * count} images`]: () => startTime(double),
  })
  const [singleStart, doubleStart] = Object.values(starts)
  const latencies = await listAndHealth(single, rounds, say)
  const { list, health } = latencies
  const listP99 = quantile(list, 0.99)
  const limit = { peer: listMaxMs, peerName: 'limit', show: milliseconds }
  return [
    figure({
      what: `start to first list, ${count} images`,
      ours: singleStart,
      peer: startMaxSeconds,
      peerName: 'limit',
      show: seconds,
      goal: under(1),
    }),
    figure({
      what: `start to first list, ${2 * count} images`,
      ours: doubleStart,
      peer: singleStart,
      peerName: `with ${count}`,
      show: seconds,
      goal: atMost(2),
    }),
    figure({ what: `p99 of ${list.length} lists`, ours: listP99, ...limit, goal: under(1) }),
    figure({
      what: 'the same',
      ours: listP99,
      peer: quantile(health, 0.99),
      peerName: 'p99 of GET /health',
      show: milliseconds,
    }),
    figure({ what: 'the slowest of them', ours: Math.max(...list), ...limit }),
    figure({ what: 'a list after 5 s of quiet', ours: latencies.afterQuiet, ...limit }),
  ]
}

/** From before the process is made until it is ready and has answered with images, in seconds. */
async function startTime(storage) {
  const server = await startServer(storage)
  const client = new Client(server)
  while ((await client.ask('/ready')).status !== 200) await delay(5)
  await client.list()
  const time = (performance.now() - server.startedAtMs) / 1000
  client.close()
  await server.stop()
  return time
}

/** Latencies in milliseconds, one request after the other on one connection, in turns. */
async function listAndHealth(storage, rounds, say) {
  const server = await startServer(storage)
  const client = new Client(server)
  const list = []
  const health = []
  say(`asking for ${requests} lists`)
  for (let request = 0; request < requests; request += 1) {
    list.push(await client.list())
    health.push((await client.ask('/health')).tookMs)
  }
  const afterQuiet = []
  for (let round = 0; round < rounds; round += 1) {
    await delay(quietMs)
    afterQuiet.push(await client.list())
  }
  client.close()
  await server.stop()
  return { list, health, afterQuiet: median(afterQuiet) }
}

/** One connection that stays open. */
class Client {
  #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  #server

  constructor(server) {
    this.#server = server
  }

  ask(path) {
    const startedAtMs = performance.now()
    return new Promise((resolve, reject) => {
      const request = get(`${this.#server.url}${path}`, { agent: this.#agent }, (response) => {
        const chunks = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const tookMs = performance.now() - startedAtMs
          resolve({ status: response.statusCode, tookMs, body: Buffer.concat(chunks).toString() })
        })
      })
      request.on('error', reject)
    })
  }

  /** The time of one page of images, in milliseconds. */
  async list() {
    const { status, tookMs, body } = await this.ask(`/v1/backing-images?limit=${pageLength}`)
    const found = status === 200 ? JSON.parse(body).data.length : 0
    if (found === pageLength) return tookMs
    throw new Error(`the list was answered with ${status} and ${found} images`)
  }

  close() {
    this.#agent.destroy()
  }
}
