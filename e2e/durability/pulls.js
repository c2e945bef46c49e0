// Images that servers are asked to fetch, while anything may happen to these servers: each has a URL
// of its own, on a web server that outlives them. An answer 202 is a promise: from then on the image must
// become ready, with just these bytes, unless it is deleted, or may not be what it was asked to be.

import { gzipSync } from 'node:zlib'
import { bufferContent } from '../servers/web.js'
import { between } from './bodies.js'
import { pull, sha512Of } from './client.js'

/** Names for pulls alone, and seldom or never deleted: what is forgotten has no excuse there. */
export const fetchedNames = ['fetched', 'fetched-2']

const wrongDigest = sha512Of(Buffer.from('something else'))
/** What a job says that has failed, as it may. */
const messages = {
  wrong: /^The sha512 of the received bytes is .*, expected was /,
  other: / exists with other bytes /,
  same: / was published meanwhile, with the same bytes\.$/,
  lost: /^The server that was to fetch .* stopped, and this one can not go on /,
}

export class Pulls {
  #web
  #model
  #counts
  #label
  #slowMostMs
  #asked = 0
  /** By arrival, those that have not ended: {page, isWrong, kills, …}. */
  #orders = new Map()

  /** `label` is that of no other who uses the same web server; the slow ones take up to `slowMostMs`. */
  constructor({ web, model, counts, label, slowMostMs = 4000 }) {
    this.#slowMostMs = slowMostMs
    this.#web = web
    this.#model = model
    this.#counts = counts
    this.#label = label.replaceAll(/[^a-z0-9]/g, '-')
  }

  /**
   * Prepares a pull of a body, some of them packed, some slow or cut again and again, some with a checksum
   * that they do not have; a plain one is just slow. The model knows of it from now on.
   */
  order(random, name, body, { version, isPlain = false } = {}) {
    this.#asked += 1
    const isWrong = !isPlain && random() < 0.12
    const isPacked = !isPlain && random() < 0.2
    const content = bufferContent(isPacked ? gzipSync(body, { level: 1 }) : body)
    const page = this.#web.serve(`${this.#label}-${this.#asked}.img`, content)
    if (isPlain || random() < 0.6) this.#slowDown(page, random)
    if (!isPlain && random() < 0.25) page.cutEveryBytes = Math.ceil(content.size / 2.5)
    const sha512 = sha512Of(body)
    const digest = isWrong ? wrongDigest : sha512
    const more = {
      ...(version !== undefined && { version }),
      ...((isWrong || random() < 0.4) && { checksum: `sha512:${digest}` }),
    }
    const arrival = this.#model.beginPull({ name, sha512: digest, version }, performance.now())
    this.#orders.set(arrival, { page, isWrong, kills: 0 })
    const what = `pull ${version ?? '-'} ${digest.slice(0, 12)} ${content.size} bytes`
    return { arrival, what, send: (url) => pull(url, name, page.url, more) }
  }

  #slowDown(page, random) {
    page.slowFrom = Math.floor(random() * 0.6 * page.content.size)
    const bytes = page.content.size - page.slowFrom
    page.slowPieceBytes = Math.min(page.slowPieceBytes, Math.ceil(bytes / 20))
    page.slowPauseMs =
      (between(random, this.#slowMostMs / 4, this.#slowMostMs) * page.slowPieceBytes) / bytes
  }

  /** Tells the model what was answered. Returns why that can not be. */
  answered(arrival, answer, now) {
    const { status, body } = answer
    if (status === 202) {
      arrival.accept({ uuid: answer.uuid, label: JSON.parse(body.toString()).version }, now)
      return undefined
    }
    this.#forget(arrival)
    if (status === 200) {
      // The version that was given is there, and has the checksum that was given.
      const { version, currentChecksum: sha512 } = JSON.parse(body.toString())
      const isSame = version === arrival.version && sha512 === arrival.sha512
      arrival.acknowledge({ version, sha512, created: false }, now)
      return isSame ? undefined : `was answered with ${version} (${sha512.slice(0, 12)})`
    }
    if (status < 500) arrival.refuse(now)
    else arrival.stop(now)
    if (status === 503) return undefined
    const mayBe = [404, 409].includes(status) && arrival.isGiven && this.#model.mayBeTaken(arrival)
    return mayBe ? undefined : `was answered ${status} ${body}`
  }

  /** Those of which it is not known how they ended. */
  get open() {
    return [...this.#orders.keys()]
  }

  /** The names that they come to. */
  get names() {
    return [...new Set(this.open.map(({ name }) => name))]
  }

  /** On what of the store somebody may be working therefore, `<name>-<uuid>` each. */
  get busy() {
    return this.open.filter(({ uuid }) => uuid).map(({ name, uuid }) => `${name}-${uuid}`)
  }

  /** Those whose bytes come at this moment. */
  get coming() {
    return this.open.filter((arrival) => this.#orders.get(arrival).page.active > 0)
  }

  /** Those of them that nothing may come between. */
  get sure() {
    return this.coming.filter((arrival) => this.#mustCome(arrival))
  }

  #mustCome(arrival) {
    const { isWrong } = this.#orders.get(arrival)
    return !isWrong && !arrival.isGiven && fetchedNames.includes(arrival.name)
  }

  /** The server that fetched these was killed; half of them come fast from now on. */
  killed(arrivals, random) {
    for (const arrival of arrivals) {
      const order = this.#orders.get(arrival)
      if (order === undefined) continue
      order.kills += 1
      order.requestsAtKill = order.page.requests.length
      if (this.#mustCome(arrival)) this.#counts.add('kill', 'with a pull that must come')
      if (random() < 0.5) order.page.slowFrom = Infinity
    }
  }

  /** Whether some of those that were killed are fetched anew. */
  get areGoneOnWith() {
    return this.coming.some((arrival) => this.#laterRequests(arrival).length > 0)
  }

  /** From now on all come fast. */
  hurry() {
    for (const { page } of this.#orders.values()) page.slowFrom = Infinity
  }

  /** Knows by their URLs those that were taken on, though nobody came to answer that. */
  adopt(images, now, arrivals = this.open) {
    for (const arrival of arrivals.filter(({ uuid }) => uuid === undefined)) {
      const { page } = this.#orders.get(arrival)
      const image = images.find(
        ({ parameters, rollbackOf }) => parameters.url === page.url && rollbackOf === undefined,
      )
      if (image === undefined) continue
      this.#orders.get(arrival).isAdopted = true
      arrival.accept({ uuid: image.uuid, label: image.version }, now)
    }
  }

  /** Says what has become of all by what a look at all names has shown. Returns what can not be. */
  judgeAll(images, look) {
    return this.open.map((arrival) => this.judge(arrival, images, look)).filter(Boolean)
  }

  /** Likewise of one of them, by a look at its name or at just what came of it. */
  judge(arrival, images, look) {
    this.adopt(images, look.endedAt, [arrival])
    const { name, uuid } = arrival
    const found = images.filter((image) => image.name === name && image.uuid === uuid)
    const image = found.find(({ rollbackOf }) => rollbackOf === undefined)
    const fault = image ? this.#seen(arrival, image, look) : this.#absent(arrival, look)
    return fault && `The pull of ${name} ${arrival.version ?? arrival.label} (${uuid}) ${fault}.`
  }

  #seen(arrival, image, look) {
    const { name, version, state, currentChecksum: sha512, message } = image
    if (this.#model.isSurelyDeleted(arrival, look)) return `is ${state} after it was deleted`
    if (state === 'failed') return this.#failed(arrival, message, look)
    if (state !== 'ready') {
      arrival.seenAt = Math.max(arrival.seenAt ?? 0, look.beganAt)
      return undefined
    }
    const isRight = sha512 === arrival.sha512 && (!arrival.isGiven || version === arrival.version)
    if (!isRight) return `came as ${version} with the bytes ${sha512}`
    const fault = this.#model.faultOfSeen({ name, version, sha512 }, look)
    if (fault !== undefined) return `is ready: ${fault}`
    arrival.acknowledge({ version, sha512 }, look.endedAt)
    this.#ended(arrival, 'ready')
    return undefined
  }

  #failed(arrival, message, look) {
    const { isWrong, isAdopted } = this.#orders.get(arrival)
    const isTaken =
      (messages.other.test(message) && this.#model.mayConflict(arrival)) ||
      (messages.same.test(message) && this.#model.mayBeTaken(arrival))
    const why =
      (isWrong && messages.wrong.test(message) && 'wrong') ||
      (arrival.isGiven && isTaken && 'taken') ||
      (isAdopted && messages.lost.test(message) && 'never taken on')
    if (!why) return `failed: ${message}`
    arrival.refuse(look.endedAt)
    this.#ended(arrival, why)
    return undefined
  }

  #absent(arrival, look) {
    const { isWrong } = this.#orders.get(arrival)
    const since = { ...arrival, beganAt: arrival.seenAt ?? arrival.beganAt }
    // What has failed goes when something else comes under its label.
    const isReplaced = (isWrong || arrival.isGiven) && this.#model.mayBeTaken(arrival)
    const why =
      (arrival.acceptedAt === undefined && 'never taken on') ||
      (this.#model.mayBeDeleted(since, look.endedAt) && 'deleted') ||
      (isReplaced && 'replaced')
    if (!why) return 'was taken on, and is forgotten'
    arrival.stop(look.endedAt)
    this.#ended(arrival, why)
    return undefined
  }

  #ended(arrival, outcome) {
    const [first] = this.#laterRequests(arrival)
    this.#counts.add('pulled', outcome)
    if (this.#orders.get(arrival).kills > 0) this.#counts.add('killed pull', outcome)
    if (first && outcome === 'ready') this.#counts.add('killed pull', 'gone on with')
    if (first?.start > 0) this.#counts.add('killed pull', 'gone on with in the middle')
    this.#forget(arrival)
  }

  /** What was asked of its page since its server was killed. */
  #laterRequests(arrival) {
    const { page, requestsAtKill = Infinity } = this.#orders.get(arrival)
    return page.requests.slice(requestsAtKill)
  }

  #forget(arrival) {
    this.#web.forget(this.#orders.get(arrival).page)
    this.#orders.delete(arrival)
  }
}
