// Two managers with stores of their own: one that has images, and one that syncs them over a wire.

import * as assert from 'uvu/assert'
import { getJson, listPath, pull, put } from '../durability/client.js'
import { Scene } from '../pulls/scene.js'
import { Relay } from '../servers/relay.js'
import { freePorts } from '../servers/servers.js'

/** More than the acts that sync one image at a time. */
const senderEnv = { SYNC_SENDING_LIMIT: '20' }
const uploadTimeoutMs = 240_000

let lastStart = Promise.resolve()

/** One server after the other: a store that many try at once may be too slow for each. */
async function inTurn(start) {
  const started = lastStart.then(start)
  lastStart = started.catch(() => {})
  return await started
}

/** The manager that has images. It may be killed, and comes back at the same port. */
export class Sender {
  #server

  static async start(name, place) {
    const sender = new Sender()
    sender.scene = new Scene(name, place)
    sender.port = await freePorts(1)
    await sender.start()
    return sender
  }

  async start() {
    await inTurn(() => this.startNow())
  }

  /** Those who sync from it go on asking for a minute: it must not wait for the starts of others. */
  async startNow() {
    const env = { ...senderEnv, PORT: String(this.port) }
    this.#server = await this.scene.start(undefined, env)
  }

  async kill() {
    await this.#server.kill()
  }

  get url() {
    return this.#server.url
  }

  /** Resolves to the image, as it tells of it. */
  async upload(name, content, query = {}) {
    const options = { query, timeoutMs: uploadTimeoutMs }
    const { status, body } = await put(this.url, name, content.read(), options)
    assert.is(status, 201, `${body}`)
    return JSON.parse(body)
  }

  /** What it has now. */
  async image(name) {
    return await getJson(`${this.url}${listPath}/${name}`)
  }

  /** Nothing but its images is left when its servers end. */
  async end() {
    try {
      await this.scene.isTidy()
    } finally {
      await this.scene.end()
    }
  }
}

/** The manager that syncs. */
export class SyncScene extends Scene {
  #relays = []

  async start(place) {
    return await inTurn(() => super.start(place))
  }

  /** Has the server at `url` sync an image of a sender, over a wire that has a pace. */
  async sync(url, name, sender, pace = {}) {
    const relay = Object.assign(await Relay.start(sender.port), pace)
    this.#relays.push(relay)
    const parameters = { from: relay.url, name }
    const answer = await pull(url, name, undefined, { sourceType: 'sync', parameters })
    assert.is(answer.status, 202, `${answer.body}`)
    return { name, relay, path: answer.path, uuid: answer.uuid, parameters }
  }

  /** Resolves when it is ready, and all that the sender says of it. */
  async arrivesAs(url, each, content, theirs) {
    await this.arrives(url, each, content)
    const image = await getJson(url + each.path)
    for (const field of ['size', 'virtualSize', 'format', 'checksums', 'labels', 'warnings']) {
      assert.equal(image[field], theirs[field], `${field} of ${each.name}`)
    }
    assert.is(image.sourceType, 'sync')
    assert.equal(image.parameters, { ...each.parameters, version: theirs.version })
  }

  async end() {
    await super.end()
    for (const relay of this.#relays) await relay.stop()
  }
}
