// Clients that do everything at once to one server until it is gone: uploads in every way, pulls, given
// and chosen versions, rollbacks, deletes, bad checksums, clients that stop half-way. What each was
// answered goes into the model.

import { setTimeout as delay } from 'node:timers/promises'
import { between, chooseBody, commonBody, pick, randomBody } from './bodies.js'
import { listVersions, postForm, put, remove, rollback, sha512Of } from './client.js'
import { fetchedNames } from './pulls.js'

const names = ['alpine', 'base', 'base-grub', 'debian_12.x', 'fedora', 'k3s-node', 'windows']
const givenVersions = ['stable', '2026.1', '7']
const clients = 6
/** Of each hundred requests. */
const shares = { put: 34, stream: 10, form: 16, wrong: 8, broken: 6, rollback: 10, remove: 16 }
const pullShare = 18

/** How often each kind of request was answered, and how. */
export class Counts {
  #counts = new Map()

  add(kind, outcome) {
    const key = `${kind} ${outcome}`
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
  }

  of(kind, outcome) {
    return this.#counts.get(`${kind} ${outcome}`) ?? 0
  }

  /** Whether an upload of any kind was. */
  get isAcknowledged() {
    return ['put', 'stream', 'form'].some((kind) => this.of(kind, 201) > 0)
  }

  toString() {
    const lines = [...this.#counts].map(([key, count]) => `${key}: ${count}`)
    return lines.toSorted((a, b) => a.localeCompare(b)).join(', ')
  }
}

export class Load {
  #url
  #model
  #random
  #counts
  #label
  #largestMiB
  #hugeMiB
  #pulls
  #shares = shares
  #sent = 0
  #isStopped = false
  #isCut = false
  #acknowledged = 0
  /** Answers that no server may give, as sentences. */
  faults = []

  /** Slow clients send up to `hugeMiB`, where that is given; with `pulls` images are fetched, too. */
  constructor({ url, model, random, counts, label, largestMiB = 8, hugeMiB, pulls }) {
    this.#pulls = pulls
    if (pulls) this.#shares = { ...shares, pull: pullShare }
    this.#largestMiB = largestMiB
    this.#hugeMiB = hugeMiB
    this.#url = url
    this.#model = model
    this.#random = random
    this.#counts = counts
    this.#label = label
  }

  /** Resolves when every client has seen its last answer, or that there is none. */
  async run() {
    await Promise.all(Array.from({ length: clients }, () => this.#work()))
  }

  /** Resolves when so many uploads were acknowledged, or the time is over. */
  async hasAcknowledged(count, timeoutMs) {
    const endsAt = performance.now() + timeoutMs
    while (this.#acknowledged < count && performance.now() < endsAt) await delay(20)
  }

  /** The server is about to be killed: nothing new is sent. */
  stop() {
    this.#isStopped = true
  }

  /** The power of the disk is about to be cut: from now on no answer means anything. */
  cut() {
    this.#isCut = true
    this.#model.cut()
  }

  async #work() {
    while (!this.#isStopped) {
      const kind = this.#chooseKind()
      try {
        const status = await this[kind](this.#chooseName(kind))
        this.#counts.add(kind, status ?? 'nothing to do')
        if (status >= 500 && status !== 503) this.#fault(kind, `was answered ${status}`)
      } catch (error) {
        if (error.isFault) throw error
        // Cut: the server is gone, or so we wanted it.
        this.#counts.add(kind, 'cut')
        await delay(5)
      }
    }
  }

  #chooseKind() {
    // There is always one to be met by the kill.
    if (this.#pulls?.open.length === 0) return 'pull'
    let at = this.#random() * Object.values(this.#shares).reduce((sum, share) => sum + share, 0)
    for (const [kind, share] of Object.entries(this.#shares)) {
      at -= share
      if (at < 0) return kind
    }
    return 'put'
  }

  #chooseName(kind) {
    const share = this.#pulls ? { pull: 0.5, remove: 0.08 }[kind] : 0
    if (this.#random() < share) return pick(this.#random, fetchedNames)
    // Deletes meet pulls on their way.
    const met = kind === 'remove' ? names.filter((name) => this.#pulls?.names.includes(name)) : []
    return pick(this.#random, met.length > 0 && this.#random() < 0.4 ? met : names)
  }

  #fault(kind, what) {
    if (!this.#isCut) this.faults.push(`${kind} ${what}`)
  }

  #body() {
    if (this.#random() < 0.2) return commonBody(this.#random)
    this.#sent += 1
    return chooseBody(`${this.#label} ${this.#sent}`, this.#random, this.#largestMiB)
  }

  #hugeBody() {
    this.#sent += 1
    const size = between(this.#random, this.#hugeMiB / 2, this.#hugeMiB) * 1024 * 1024
    return randomBody(`${this.#label} ${this.#sent}`, size)
  }

  /** Sends an upload and tells the model of it. */
  async #upload(name, body, send) {
    const version = this.#random() < 0.35 ? pick(this.#random, givenVersions) : undefined
    const sha512 = sha512Of(body)
    const options = {
      ...(version !== undefined && { version }),
      ...(this.#random() < 0.5 && { checksum: `sha512:${sha512}` }),
    }
    const arrival = this.#model.beginUpload({ name, sha512, version }, performance.now())
    try {
      const answer = await send(options)
      if (answer.status === 201 || answer.status === 200) {
        const image = JSON.parse(answer.body.toString())
        if (image.currentChecksum !== sha512 || image.size !== body.length) {
          this.#fault('upload', `of ${name} was acknowledged as other bytes`)
        }
        arrival.acknowledge({ version: image.version, sha512 }, performance.now())
        this.#acknowledged += 1
      } else if (![404, 409, 503].includes(answer.status)) {
        // 404: deleted meanwhile; 409: that version has other bytes.
        this.#fault('upload', `of ${name} was answered ${answer.status} ${answer.body}`)
      }
      return answer.status
    } finally {
      arrival.stop(performance.now())
    }
  }

  put(name) {
    const body = this.#body()
    return this.#upload(name, body, (query) => put(this.#url, name, body, { query }))
  }

  /** Without a length, and slowly. */
  stream(name) {
    const isHuge = this.#hugeMiB !== undefined && this.#random() < 0.5
    const body = isHuge ? this.#hugeBody() : this.#body()
    const pauseMs = between(this.#random, 0, 30)
    const pieceBytes = isHuge ? 2_000_000 : 150_000
    async function* pieces() {
      for (let at = 0; at < body.length; at += pieceBytes) {
        yield body.subarray(at, at + pieceBytes)
        await delay(pauseMs)
      }
    }
    return this.#upload(name, body, (query) => put(this.#url, name, pieces(), { query }))
  }

  form(name) {
    const body = this.#body()
    return this.#upload(name, body, (fields) => postForm(this.#url, name, body, fields))
  }

  /** A checksum that the bytes do not have: never stored, so the model does not hear of it. */
  async wrong(name) {
    const query = { checksum: sha512Of(Buffer.from('something else')) }
    const { status } = await put(this.#url, name, this.#body(), { query })
    if (![422, 404, 503].includes(status)) this.#fault('wrong checksum', `was answered ${status}`)
    return status
  }

  /** A client that announces more than it sends, and goes away. */
  async broken(name) {
    const body = this.#body()
    async function* half() {
      yield body.subarray(0, body.length / 2)
      await delay(20)
      throw new Error('This client has gone.')
    }
    const headers = { 'Content-Length': body.length }
    const { status } = await put(this.#url, name, half(), { headers })
    if (status < 400) this.#fault('half an upload', `was answered ${status}`)
    return status
  }

  /** Fetched by the server from a URL; what becomes of it is for later looks to say. */
  async pull(name) {
    const isHuge = this.#hugeMiB !== undefined && this.#random() < 0.3
    const version = this.#random() < 0.3 ? pick(this.#random, givenVersions) : undefined
    const body = isHuge ? this.#hugeBody() : this.#body()
    const { arrival, what, send } = this.#pulls.order(this.#random, name, body, { version })
    const answer = await send(this.#url)
    const fault = this.#pulls.answered(arrival, answer, performance.now())
    if (fault) this.#fault(what, `of ${name} ${fault}`)
    return answer.status
  }

  async rollback(name) {
    const version = await this.#someVersion(name, ['ready'])
    if (version === undefined) return undefined
    const arrival = this.#model.beginRollback(name, version, performance.now())
    try {
      const answer = await rollback(this.#url, name, version)
      if (answer.status === 201) {
        const image = JSON.parse(answer.body.toString())
        arrival.acknowledge(
          { version: image.version, sha512: image.currentChecksum },
          performance.now(),
        )
      }
      return answer.status
    } finally {
      arrival.stop(performance.now())
    }
  }

  async remove(name) {
    const version = this.#random() < 0.6 ? await this.#someVersion(name) : undefined
    const removal = this.#model.beginRemoval(name, version, performance.now())
    try {
      const { status } = await remove(this.#url, name, version)
      if (status === 204) removal.acknowledge(performance.now())
      else removal.stop(performance.now())
      if (status === 404 && this.#model.isSurelyThere(removal)) {
        this.#fault('delete', `of ${name} ${version ?? ''} does not find what was acknowledged`)
      }
      return status
    } finally {
      removal.stop(performance.now())
    }
  }

  async #someVersion(name, states = ['ready', 'in-progress', 'starting', 'pending']) {
    const versions = await listVersions(this.#url, name).catch(() => [])
    const meant = versions.filter((image) => states.includes(image.state))
    return meant.length > 0 ? pick(this.#random, meant).version : undefined
  }
}
