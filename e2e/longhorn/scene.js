// A store with servers of it, and a stand-in for the Longhorn of their cluster. The stand-in takes every
// host for this machine, as a cluster's DNS might.

import { createRequire } from 'node:module'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { LonghornStandIn } from '../../packages/longhorn/dist/testing/stand-in.js'
import { getJson, put, request } from '../durability/client.js'
import { ServerProcess } from '../durability/server.js'
import { freePort, root, run, until } from '../machine.js'

const { parse } = createRequire(join(root, 'packages/server/package.json'))('yaml')
const binary = join(root, 'packages/server/bin/backing-image-manager.cjs')
const cluster = 'test'
/** Also on a machine that has much else to do. */
const patienceMs = 150_000

export class LonghornScene {
  #place
  #servers = []

  static async start(place) {
    const scene = new LonghornScene()
    scene.#place = place
    scene.longhorn = await LonghornStandIn.start()
    return scene
  }

  get provesDeath() {
    return this.#place.provesDeath
  }

  /** A server of this store, known to Longhorn by a name that is not loopback. */
  async serve(env = {}) {
    const port = await freePort()
    const server = new ServerProcess(undefined, {
      ...this.#place.env,
      PORT: String(port),
      PUBLIC_URL: `http://images.test:${port}`,
      LONGHORN_API_URL: this.longhorn.url,
      LONGHORN_CLUSTER: cluster,
      ...env,
    })
    this.#servers.push(server)
    server.url = await server.listening()
    return server
  }

  /** Longhorn goes, and its port refuses connections. */
  async takeLonghornAway() {
    this.port = new URL(this.longhorn.url).port
    await this.longhorn.stop()
  }

  /** Another one in its place, which knows nothing of what was there. */
  async bringLonghornBack() {
    this.longhorn = await LonghornStandIn.start({ port: Number(this.port) })
  }

  /** Resolves to the image; fails unless it is stored. */
  async upload(server, name, body, query = {}) {
    const answer = await put(server.url, name, body, { query })
    assert.is(answer.status, 201, `${answer.body}`)
    return JSON.parse(answer.body)
  }

  async image(server, path) {
    return await getJson(`${server.url}/v1/backing-images/${path}`)
  }

  /** Resolves to what is told of an image once it is in this state there. */
  async becomes(server, path, state = 'ready') {
    const look = async () => {
      const told = (await this.image(server, path)).longhorn[cluster]
      return told?.state === state && told
    }
    return await until(`${path} is ${state} in Longhorn`, look, patienceMs)
  }

  /** What /ready tells of Longhorn; fails unless the server is ready. */
  async report(server) {
    return (await getJson(`${server.url}/ready`)).longhorn
  }

  async manifest(server, name, kind) {
    const path = `/v1/backing-images/${name}/manifest?kind=${kind}&fromBackup=s3://a/?backup=b`
    const { status, body } = await request(`${server.url}${path}`)
    assert.is(status, 200, `${body}`)
    return parse(`${body}`)
  }

  /** Runs a command of the program, and resolves to the JSON that it prints. */
  async command(server, ...args) {
    const words = [binary, 'backing-image', '--url', server.url, ...args, '-o', 'json']
    return JSON.parse(await run(process.execPath, words, { timeoutMs: patienceMs }))
  }

  /** Resolves when it holds. */
  async until(what, holds) {
    return await until(what, holds, patienceMs)
  }

  /** No server of it runs then. */
  async kill(server) {
    this.#servers = this.#servers.filter((each) => each !== server)
    await server.kill()
  }

  async stop(server) {
    this.#servers = this.#servers.filter((each) => each !== server)
    assert.is(await server.stop(), 0)
  }

  get log() {
    return this.#servers.map(({ log }) => log).join('\n')
  }

  async end() {
    try {
      while (this.#servers.length > 0) await this.stop(this.#servers[0])
    } finally {
      await this.longhorn.stop()
    }
  }
}
