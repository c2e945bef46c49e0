// Uploads, rollbacks and deletes on any server while everybody works: what was answered goes into the
// model, and what must not be answered is a fault.

import { setTimeout as delay } from 'node:timers/promises'
import { put, remove, rollback, sha512Of } from '../durability/client.js'

const sliceBytes = 1024 * 1024

export class Changes {
  #model
  #journal
  #looks
  #news
  #pulls
  #afterlifeMs

  /** `news` is told what other servers must hear of; `afterlifeMs` as places have it. */
  constructor({ model, journal, looks, news, pulls, afterlifeMs }) {
    this.#pulls = pulls
    this.#model = model
    this.#journal = journal
    this.#looks = looks
    this.#news = news
    this.#afterlifeMs = afterlifeMs
  }

  /**
   * `paceMs` is the pause after each MiB; 0 sends all at once. Resolves to the status, or undefined when
   * the server was killed.
   */
  async upload(life, name, body, { version, paceMs = 0, checksum = false } = {}) {
    const sha512 = sha512Of(body)
    const arrival = this.#model.beginUpload({ name, sha512, version }, performance.now())
    const what = `put ${version ?? '-'} ${sha512.slice(0, 12)} ${body.length} bytes`
    const query = { ...(version && { version }), ...(checksum && { checksum: `sha512:${sha512}` }) }
    const headers = { 'Content-Length': body.length }
    const { answer, endedAt } = await this.#looks.ask(life, name, what, (url) =>
      put(url, name, paceMs > 0 ? paced(body, paceMs) : body, { query, headers }),
    )
    this.#settle(arrival, answer, endedAt)
    if (answer?.status === 201 || answer?.status === 200) {
      const image = JSON.parse(answer.body.toString())
      if (image.currentChecksum !== sha512 || image.size !== body.length) {
        this.#journal.fault(name, `${what} was acknowledged as other bytes`, life)
      }
      this.#acknowledge(arrival, image, answer.status === 201, endedAt, life)
    }
    this.#judgeRefusal(arrival, answer, what, life)
    return answer?.status
  }

  #judgeRefusal(arrival, answer, what, life) {
    const { name } = arrival
    const isWrong =
      (answer?.status === 409 && !(arrival.isGiven && this.#model.mayConflict(arrival))) ||
      (answer?.status === 404 && !this.#model.mayBeDeleted({ ...arrival, version: undefined })) ||
      [400, 401, 403, 405, 412, 413, 415, 422, 507].includes(answer?.status)
    if (!isWrong) return
    this.#journal.fault(name, `${what} was answered ${answer.status} ${answer.body}`, life)
  }

  /** Asks a server to fetch a body from a URL; what becomes of that is for `follow` to see. */
  async pull(life, name, body, { random, ...options }) {
    const { arrival, what, send } = this.#pulls.order(random, name, body, options)
    arrival.life = life
    const { answer, endedAt } = await this.#looks.ask(life, name, what, send)
    // What a killed server had sent may take effect a little later.
    arrival.askedUntil = endedAt + (answer === undefined ? this.#afterlifeMs : 0)
    const fault = answer && this.#pulls.answered(arrival, answer, endedAt)
    if (fault) this.#journal.fault(name, `${what} ${fault}`, life)
    return arrival
  }

  /** Looks how a pull stands: every server knows of it as soon as one has taken it on, and none forgets it. */
  async follow(life, arrival) {
    const { name, uuid, askedUntil } = arrival
    const look = await this.#looks.atPull(life, name, uuid)
    // It may have ended, or been taken on, meanwhile.
    if (!look.images || !this.#pulls.open.includes(arrival) || arrival.uuid !== uuid) return
    if (uuid === undefined && look.beganAt <= askedUntil) return
    const fault = this.#pulls.judge(arrival, look.images, look)
    if (fault) this.#journal.fault(name, fault, life)
    else if (arrival.isSure) this.#arrived(arrival)
  }

  /** As far as a last look at all names tells. */
  followAll(images, look) {
    for (const arrival of this.#pulls.open) {
      const fault = this.#pulls.judge(arrival, images, look)
      if (fault) this.#journal.fault(arrival.name, fault)
    }
  }

  #arrived(arrival, life) {
    for (const fault of this.#model.faultsOfAnswer(arrival)) {
      this.#journal.fault(arrival.name, fault, life)
    }
    if (arrival.created) this.#news.arrived(arrival, life)
  }

  async rollback(life, name, of) {
    const arrival = this.#model.beginRollback(name, of, performance.now())
    const what = `rollback to ${of}`
    const look = await this.#looks.ask(life, name, what, (url) => rollback(url, name, of))
    const { answer, endedAt } = look
    const fault = answer?.status === 404 && this.#model.faultOfNone(name, look, of)
    if (fault) this.#journal.fault(name, `${what}: ${fault}`, life)
    this.#settle(arrival, answer, endedAt)
    if (answer?.status !== 201) return
    const image = JSON.parse(answer.body.toString())
    const before = { name, version: of, sha512: image.currentChecksum }
    const wrong = this.#model.faultOfSeen(before, look)
    if (wrong) this.#journal.fault(name, `${what} took other bytes: ${wrong}`, life)
    this.#acknowledge(arrival, image, true, endedAt, life)
  }

  async remove(life, name, version) {
    const removal = this.#model.beginRemoval(name, version, performance.now())
    const what = `remove ${version ?? 'all'}`
    const { answer, endedAt } = await this.#looks.ask(life, name, what, (url) =>
      remove(url, name, version),
    )
    if (answer?.status === 204) {
      removal.acknowledge(endedAt)
      this.#news.removed(removal, life)
    } else removal.stop(endedAt + (answer === undefined ? this.#afterlifeMs : 0))
    if (answer?.status === 404 && this.#model.isSurelyThere(removal)) {
      this.#journal.fault(name, `${what} does not find what was acknowledged`, life)
    }
    return answer?.status
  }

  #settle(arrival, answer, endedAt) {
    // What a killed server had sent may take effect a little later.
    if (answer === undefined) arrival.stop(endedAt + this.#afterlifeMs)
    else if ([404, 409, 422, 429].includes(answer.status)) arrival.refuse(endedAt)
    else if (answer.status >= 300) arrival.stop(endedAt)
  }

  #acknowledge(arrival, image, created, endedAt, life) {
    arrival.acknowledge({ version: image.version, sha512: image.currentChecksum, created }, endedAt)
    this.#arrived(arrival, life)
  }
}

async function* paced(body, paceMs) {
  for (let at = 0; at < body.length; at += sliceBytes) {
    yield body.subarray(at, at + sliceBytes)
    await delay(paceMs)
  }
}
