// Clients that take their time: the others must show such work with its progress, a delete on another
// server must end it, and when its server is killed it must become `failed`, once, and leave nothing.

import { setTimeout as delay } from 'node:timers/promises'
import { between, pick, randomBody } from '../durability/bodies.js'
import { listPath, put, request, sha512Of } from '../durability/client.js'
import { promisedAgeMs } from './looks.js'

/** Generous: an owner beats every 5 s, and says in each beat how far it is. */
const shownTimeoutMs = 60_000
const failedTimeoutMs = 60_000
const dribbleMs = 500
/** So many pieces last for longer than anything here waits. */
const dribbles = 600

export class SlowUploads {
  #context
  #options
  #count = 0
  /** Those that wait for the death of their server, by its life. */
  #doomed = new Map()
  #pending = new Set()
  failed = 0
  /** Whether any waits for `failed`, or has become it. */
  hasMetDeath = false
  /** The longest from a death to `failed`. */
  slowestFailureMs = 0

  /** `context`: fleet, model, journal, looks, changes; `options`: slowBytes, seed. */
  constructor(context, options) {
    this.#context = context
    this.#options = options
  }

  /** Lives with work that waits for their death. */
  doomedLives() {
    return [...this.#doomed].filter(([life, all]) => life.isAlive && all.size > 0).map(([l]) => l)
  }

  /** Whether a death has not yet been dealt with. */
  get isPending() {
    return this.#pending.size > 0
  }

  /** One slow upload from its begin to its fate. Resolves when that is sealed. */
  async one(random, isStopped) {
    const { fleet, journal, counts } = this.#context
    const life = fleet.pick(random)
    if (life === undefined) return
    this.#count += 1
    const name = `slow-${this.#options.seed}-${this.#count}`
    const fate = pick(random, ['finish', 'delete', 'killed', 'killed', 'killed'])
    const size = between(random, this.#options.slowBytes / 2, this.#options.slowBytes)
    const upload = this.#send(life, name, randomBody(name, size))
    try {
      const image = await this.#seenByAll(life, name, random)
      if (image === undefined) return
      counts.add('slow', fate)
      journal.begin(name, `seen in flight, is to be: ${fate}`, life).end(image.uuid)
      if (fate === 'delete') await this.#delete(name, life, random)
      if (fate === 'killed') await this.#doom(name, life, image, upload, random, isStopped)
    } finally {
      upload.finish()
      await upload.answered
    }
  }

  /** Sends most of a body and then a little now and then, until told to finish. */
  #send(life, name, body) {
    const { model, looks } = this.#context
    const sha512 = sha512Of(body)
    const arrival = model.beginUpload({ name, sha512 }, performance.now())
    const state = { isFinishing: false }
    async function* pieces() {
      let at = Math.floor(body.length * 0.8)
      const dribbleBytes = Math.max(1, Math.floor((body.length - at) / dribbles))
      yield body.subarray(0, at)
      while (!state.isFinishing && at + dribbleBytes < body.length) {
        await delay(dribbleMs)
        yield body.subarray(at, at + dribbleBytes)
        at += dribbleBytes
      }
      yield body.subarray(at)
    }
    const headers = { 'Content-Length': body.length }
    // As long as anything may take: the server must end it, not this client.
    const options = { headers, timeoutMs: 300_000 }
    const send = (url) => put(url, name, pieces(), options)
    const answered = looks
      .ask(life, name, `slow-put ${body.length} bytes`, send, () => model.mayBeDeleted(arrival))
      .then(({ answer, endedAt }) => {
        if (answer?.status === 201) {
          const { version } = JSON.parse(answer.body.toString())
          arrival.acknowledge({ version, sha512 }, endedAt)
        } else if (answer === undefined) arrival.stop(endedAt + this.#options.afterlifeMs)
        else arrival.stop(endedAt)
        return answer?.status
      })
    return { answered, finish: () => (state.isFinishing = true) }
  }

  /** Resolves to the image in flight; undefined when its server was killed before all have seen it. */
  async #seenByAll(life, name, random) {
    const { fleet, journal, looks } = this.#context
    const beganAt = performance.now()
    let image
    for (const other of fleet.lives()) {
      for (;;) {
        if (!life.isAlive) return undefined
        if (!other.isAlive) break
        image = (await looks.get(other, name)) ?? image
        if (image?.state === 'in-progress' && image.processedSize > 0) break
        if (performance.now() - beganAt > shownTimeoutMs) {
          journal.fault(name, `It is not shown with its progress: ${JSON.stringify(image)}`, other)
          return undefined
        }
        await delay(500)
      }
    }
    if (image === undefined) return undefined
    const { progress, size, processedSize } = image
    if (progress < 1 || progress > 99 || processedSize > size) {
      journal.fault(name, `It is shown with ${progress} %, ${processedSize} of ${size}`, life)
    }
    await this.#listed(life, name, random, beganAt)
    return image
  }

  /** By now the list of another must have it, if 5 s have passed. */
  async #listed(life, name, random, beganAt) {
    const { fleet, journal, looks } = this.#context
    const other = fleet.pick(random, life)
    if (other === undefined) return
    await delay(Math.max(0, beganAt + 2 * promisedAgeMs - performance.now()))
    const sentAt = performance.now()
    const isRecent = sentAt - beganAt < promisedAgeMs + other.slowestListMs
    const list = await looks.list(other)
    const isListed = list.some((image) => image.name === name)
    if (isListed || isRecent || !life.isAlive || !other.isAlive || list.length === 0) return
    journal.fault(name, 'Work in flight is not in the list of another server', other)
  }

  async #delete(name, life, random) {
    const { fleet, journal, changes } = this.#context
    const other = fleet.pick(random, life)
    if (other === undefined) return
    const status = await changes.remove(other, name)
    // A server that was killed said nothing, and one that is killed now ends the work in its own way.
    if (status !== 204 || !life.isAlive) return
    for (const each of fleet.lives()) {
      const look = await this.#find(each, name)
      if (look === 200 && each.isAlive) {
        journal.fault(name, 'Work in flight was deleted and is still shown', each)
      }
    }
  }

  async #find(life, name, query = '') {
    const send = (url) => request(`${url}${listPath}/${name}${query}`)
    const { answer } = await this.#context.looks.ask(life, name, `find ${query}`, send)
    return answer?.status
  }

  /** Holds it until its server is dead, or nobody kills any more. */
  async #doom(name, life, image, upload, random, isStopped) {
    const { fleet, changes } = this.#context
    if (!this.#doomed.has(life)) this.#doomed.set(life, new Set())
    this.#doomed.get(life).add(name)
    const isOver = upload.answered.then(() => true)
    while (life.isAlive && !isStopped()) {
      if (await Promise.race([isOver, delay(100)])) break
    }
    this.#doomed.get(life).delete(name)
    if (life.isAlive) return
    this.#pending.add(name)
    try {
      await upload.answered
      const other = fleet.pick(random)
      if (other && this.hasMetDeath && random() < 0.25) await changes.remove(other, name)
      else await this.#fails(name, life, image)
    } finally {
      this.#pending.delete(name)
    }
  }

  /** It becomes `failed` within a minute, is shown so by every server, and only once. */
  async #fails(name, life, { uuid }) {
    const { fleet, journal } = this.#context
    const { killedAt } = life
    this.hasMetDeath = true
    const failed = new Set()
    for (;;) {
      const lives = fleet.lives()
      for (const each of lives) {
        if (failed.has(each) || !(await this.#isFailed(each, name, uuid))) continue
        // What one shows, all show: later ones are only asked later, or started later.
        if (failed.size === 0) {
          const tookMs = performance.now() - killedAt
          this.slowestFailureMs = Math.max(this.slowestFailureMs, tookMs)
        }
        failed.add(each)
      }
      if (lives.length > 0 && fleet.lives().every((each) => failed.has(each))) break
      const slowMs = lives.map((each) => each.slowestListMs).reduce((sum, ms) => sum + ms, 0)
      const allowedMs = failedTimeoutMs + slowMs + journal.lateMs(killedAt, Infinity)
      if (performance.now() - killedAt > allowedMs) {
        journal.fault(name, `${uuid} of dead ${life.title} is not failed after ${allowedMs} ms`)
        return
      }
      await delay(1000)
    }
    this.failed += 1
  }

  async #isFailed(life, name, uuid) {
    const { journal, looks } = this.#context
    const versions = await looks.versions(life, name)
    const same = versions.filter((image) => image.uuid === uuid)
    if (versions.length > 1 || same.length > 1) {
      journal.fault(name, `There are ${versions.length} entries of one upload`, life)
    }
    if (same.some((image) => image.state === 'ready')) {
      journal.fault(name, 'Half an upload of a dead server is ready', life)
    }
    return same[0]?.state === 'failed'
  }
}
