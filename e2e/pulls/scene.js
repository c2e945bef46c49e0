// One store, the servers on it, and the images that they fetch: what is asked for, watched, and looked at
// when it has come.

import { createHash } from 'node:crypto'
import http from 'node:http'
import * as assert from 'uvu/assert'
import { getJson, listPath, pull, remove, request } from '../durability/client.js'
import { ServerProcess } from '../durability/server.js'
import { until } from '../machine.js'
import { sha512OfContent } from '../servers/web.js'

/** Leases take 30 s, and what the dead left as long once more; a busy machine takes its time. */
const patienceMs = 180_000

export class Scene {
  #web
  #servers = new Set()

  /** `name` begins the names of all its images. */
  constructor(name, place, web) {
    this.name = name
    this.place = place
    this.#web = web
  }

  /** Starts a server on the store, or on another way to it. Resolves to {url, kill, stop}. */
  async start(place = this.place, env = {}) {
    const server = new ServerProcess(place.folder, { ...place.env, ...env })
    this.#servers.add(server)
    const url = await server.listening()
    const gone = (how) => async () => {
      this.#servers.delete(server)
      return await server[how]()
    }
    return { url, kill: gone('kill'), stop: gone('stop') }
  }

  /** Ends what still runs. */
  async end() {
    for (const server of this.#servers) await server.kill()
  }

  /** What the servers wrote that still run. */
  get log() {
    return [...this.#servers].map((server) => server.log).join('\n')
  }

  /** Serves a content on the web, and has it fetched by the server at `url`. */
  async pull(url, kind, content, pace = {}) {
    const name = `${this.name}-${kind}`
    const page = Object.assign(this.#web.serve(`${name}.img`, content), pace)
    const answer = await pull(url, name, page.url)
    assert.is(answer.status, 202, `${answer.body}`)
    return { name, page, path: answer.path, uuid: answer.uuid }
  }

  /** How many bytes of it are durable, as the store has it. */
  async durableBytes({ name, uuid }) {
    const beat = await this.place.read(`.jobs/${name}-${uuid}/1.beat.json`)
    return beat?.durableSize ?? 0
  }

  /** Resolves when so many bytes of it are durable. */
  async isDurable(each, bytes) {
    const what = `${bytes} bytes of ${each.name} are durable`
    return await until(what, async () => (await this.durableBytes(each)) >= bytes, patienceMs)
  }

  /** Resolves when it is under way in the server at `url`, and has so many bytes. */
  async hasCome(url, { name, path }, bytes) {
    const what = `${bytes} bytes of ${name} have come`
    const look = async () => {
      const { state, processedSize, message } = await getJson(url + path)
      assert.ok(['pending', 'starting', 'in-progress'].includes(state), `${name}: ${message}`)
      return processedSize >= bytes
    }
    await until(what, look, patienceMs)
  }

  /** Resolves when it is ready, under the uuid that it had from the first, with the bytes of a content. */
  async arrives(url, { name, path, uuid }, content) {
    const what = `${name} is ready or failed`
    const image = await until(what, () => isOver(`${url}${path}&wait=10`), patienceMs)
    assert.is(image.state, 'ready', image.message)
    assert.is(image.uuid, uuid)
    assert.is(image.size, content.size)
    const sha512 = sha512OfContent(content)
    assert.is(image.currentChecksum, sha512, `the digest of ${name}`)
    const stored = await sha512Of(`${url}${listPath}/${name}/download?version=${image.version}`)
    assert.is(stored, sha512, `the bytes of ${name}`)
  }

  async delete(url, { name }) {
    assert.is((await remove(url, name)).status, 204)
  }

  async isGone(url, { name, path }) {
    for (const each of [path, `${listPath}/${name}`]) {
      const { status, body } = await request(url + each)
      assert.is(status, 404, `${body}`)
    }
  }

  /** Resolves when the store holds nothing but what is published, and the sockets of so many servers. */
  async isTidy(serversMost) {
    let left
    const look = async () => {
      left = await this.place.leftovers(serversMost)
      return left.length === 0
    }
    await until('nothing is left over', look, patienceMs).catch((error) => {
      throw new Error(`${error.message}\n${left.join('\n')}`)
    })
  }
}

async function isOver(url) {
  const image = await getJson(url)
  return ['ready', 'failed'].includes(image.state) && image
}

/** Of a body of any size. */
function sha512Of(url) {
  return new Promise((resolve, reject) => {
    const hash = createHash('sha512')
    const outgoing = http.get(url, { agent: false }, (incoming) => {
      if (incoming.statusCode !== 200) reject(new Error(`${url}: ${incoming.statusCode}`))
      incoming.on('data', (chunk) => hash.update(chunk))
      incoming.on('error', reject)
      incoming.on('end', () => resolve(hash.digest('hex')))
    })
    outgoing.on('error', reject)
  })
}
