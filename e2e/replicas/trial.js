// Servers over one store, clients, deaths, and at the end the question whether all agree.

import { setTimeout as delay } from 'node:timers/promises'
import { between, pick, randomBody, seeded } from '../durability/bodies.js'
import { listImages, listVersions } from '../durability/client.js'
import { Counts } from '../durability/load.js'
import { takeOvers } from '../durability/loose-ends.js'
import { Model } from '../durability/model.js'
import { Pulls, fetchedNames } from '../durability/pulls.js'
import { Web } from '../servers/web.js'
import { Changes } from './changes.js'
import { Fleet } from './fleet.js'
import { Journal } from './journal.js'
import { Looks, promisedAgeMs } from './looks.js'
import { News } from './news.js'
import { SlowUploads } from './slow-uploads.js'
import { Traffic } from './traffic.js'
import { missingOutcomes } from './verdict.js'

/** So much longer a trial may take until everything has happened that it is to try. */
const overtimeSecondsMax = 90
/** Generous: leases take 30 s where nobody can prove a death, and then somebody has to look. */
const settledTimeoutMs = 120_000
const downloadsMost = 200
/** Long enough for some to be under way whenever a server dies. */
const slowPullMostMs = 20_000
/** So many are under way all the time. */
const slowPulls = 2

/**
 * Lets servers, one for each of `places` (all of them ways to one store), be used by many clients and
 * killed now and then, for so many seconds and until one has died with work in flight and every kind of
 * request has been answered in each way. Resolves to {faults, told}: everything that was wrong, with
 * the requests that concern it, and a line of what happened.
 *
 * options: seconds, seed, clients, names, thinkMs, largeBytes, largeShare, slowBytes, slowClients,
 * killEveryMs.
 */
export async function tryReplicas(places, options) {
  const web = await Web.start()
  try {
    const trial = new Trial(places, web, options)
    return await trial.run()
  } finally {
    await web.stop()
  }
}

class Trial {
  #places
  #options
  #random
  #context
  #news
  #slow
  #deaths = []
  #meetings = []
  #seconds = 0
  #settledSeconds = 0

  constructor(places, web, options) {
    const [{ afterlifeMs }] = places
    this.#places = places
    this.#options = { ...options, afterlifeMs }
    this.#random = seeded(options.seed)
    const model = new Model()
    const counts = new Counts()
    const journal = new Journal()
    const fleet = new Fleet(places, journal)
    const looks = new Looks({ model, journal, counts })
    this.#news = new News({ fleet, model, journal })
    const label = `seed ${options.seed}`
    const pulls = new Pulls({ web, model, counts, label, slowMostMs: slowPullMostMs })
    const changes = new Changes({ model, journal, looks, news: this.#news, pulls, afterlifeMs })
    this.#context = { model, counts, journal, fleet, looks, pulls, changes }
    this.#slow = new SlowUploads(this.#context, this.#options)
  }

  async run() {
    const { counts, fleet, journal } = this.#context
    await this.#places[0].plantForeign()
    try {
      await fleet.startAll()
      const beganAt = performance.now()
      const isStopped = () => {
        const overtime = (performance.now() - beganAt) / 1000 - this.#options.seconds
        if (overtime > overtimeSecondsMax || !journal.isClean) return true
        if (overtime < 0) return false
        return this.#slow.hasMetDeath && missingOutcomes(counts).length === 0
      }
      const traffic = new Traffic(this.#context, this.#options)
      const working = [traffic.run(isStopped), this.#kill(isStopped), this.#judgeNews(isStopped)]
      for (let n = 0; n < this.#options.slowClients; n += 1)
        working.push(this.#slowly(n, isStopped))
      for (let n = 0; n < slowPulls; n += 1) working.push(this.#fetch(n, isStopped))
      await Promise.all(working)
      await Promise.all(this.#meetings)
      this.#seconds = (performance.now() - beganAt) / 1000
      if (journal.isClean) await this.#lastLook()
    } finally {
      for (const fault of await fleet.end()) journal.fault('', fault)
      journal.close()
    }
    const late = `latest event ${this.#news.latestMs.toFixed()} ms of ${this.#news.told}`
    const deaths = `${this.#deaths.length} deaths, ${this.#slow.failed} uploads failed by them`
    const lasted = `${this.#seconds.toFixed()} s, then settled for ${this.#settledSeconds.toFixed()} s`
    const slowest = `slowest of these ${this.#slow.slowestFailureMs.toFixed()} ms`
    return {
      faults: journal.isClean ? '' : journal.toString(),
      counts,
      failedByDeath: this.#slow.failed,
      deaths: this.#deaths.length,
      told: `${counts.toString()}\n  ${lasted}: ${deaths}, ${slowest}; ${late}`,
    }
  }

  async #slowly(number, isStopped) {
    const random = seeded(this.#options.seed + 31 * (number + 1))
    while (!isStopped()) {
      await this.#slow.one(random, isStopped)
      await delay(between(random, 0, 1000))
    }
  }

  /** Keeps a pull under way that nothing but deaths may come between. */
  async #fetch(number, isStopped) {
    const { changes, fleet, pulls } = this.#context
    const { seed, slowBytes } = this.#options
    const random = seeded(seed + 53 * (number + 1))
    for (let count = 1; !isStopped(); count += 1) {
      await delay(between(random, 0, 1000))
      const life = fleet.pick(random)
      if (life === undefined) continue
      const body = randomBody(`fetched ${seed} ${number} ${count}`, slowBytes)
      const options = { random, isPlain: true }
      const arrival = await changes.pull(life, pick(random, fetchedNames), body, options)
      while (!isStopped() && pulls.open.includes(arrival)) {
        await delay(between(random, 500, 2000))
        const other = fleet.pick(random)
        if (other) await changes.follow(other, arrival)
      }
    }
  }

  async #judgeNews(isStopped) {
    while (!isStopped()) {
      await delay(1000)
      this.#news.judge()
    }
  }

  /**
   * Any server but one, which must live long enough to see that the others are dead; another is spared
   * when there is no dead one's work to be dealt with.
   */
  async #kill(isStopped) {
    const { counts, fleet, journal, pulls } = this.#context
    let spared = 0
    while (!isStopped()) {
      await delay(between(this.#random, this.#options.killEveryMs / 2, this.#options.killEveryMs))
      if (!this.#slow.isPending) spared = between(this.#random, 0, fleet.size - 1)
      const able = fleet.lives().filter((life) => life.slot !== spared)
      const doomed = this.#slow.doomedLives().filter((life) => able.includes(life))
      // The first to die has work in flight that all have seen, however long they take for that.
      const isFirst = !this.#slow.hasMetDeath
      const isOfDoomed = isFirst || (doomed.length > 0 && this.#random() < 0.8)
      const all = isOfDoomed ? doomed : able
      const isMet = counts.of('kill', 'with a pull that must come') > 0
      const sure = isMet ? [] : pulls.sure.map((arrival) => arrival.life)
      const both = all.filter((life) => sure.includes(life))
      const mayDie = both.length > 0 ? both : all
      if (mayDie.length === 0 || isStopped()) continue
      const life = pick(this.#random, mayDie)
      const entry = journal.begin('', 'kill', life)
      const coming = pulls.coming.filter((arrival) => arrival.life === life)
      await fleet.kill(life).catch((error) => journal.fault('', error.message, life))
      pulls.killed(coming, this.#random)
      const others = coming.filter(({ name, uuid }) => uuid && !fetchedNames.includes(name))
      this.#meetings.push(...others.map((arrival) => this.#meetTakeOver(arrival, isStopped)))
      entry.end('dead')
      this.#deaths.push({ at: performance.now(), life })
      await delay(between(this.#random, 0, this.#options.killEveryMs / 2))
      await fleet.start(life.slot)
    }
  }

  /** A delete comes when another server takes a pull over. */
  async #meetTakeOver(arrival, isStopped) {
    const { changes, counts, fleet, pulls } = this.#context
    const { name, uuid } = arrival
    const [{ provesDeath }] = this.#places
    const isWaiting = () => !isStopped() && pulls.open.includes(arrival)
    const successor = () => this.#places[0].read(`.jobs/${name}-${uuid}/2.json`)
    while (isWaiting() && !(await successor())) await delay(provesDeath ? 10 : 100)
    if (!isWaiting()) return
    await delay(between(this.#random, 0, 50))
    const version = this.#random() < 0.5 ? (arrival.version ?? arrival.label) : undefined
    const status = await changes.remove(fleet.pick(this.#random), name, version)
    counts.add('remove at a take-over', status)
  }

  /** Everything comes to its end, and then all servers show the same, and nothing is left. */
  async #lastLook() {
    const { changes, fleet, journal, model, pulls } = this.#context
    await fleet.startAll()
    pulls.hurry()
    const beganAt = performance.now()
    const lives = fleet.lives()
    let left = await this.#unsettled(lives)
    while (left.length > 0 && performance.now() - beganAt < settledTimeoutMs) {
      await delay(1000)
      left = await this.#unsettled(lives)
    }
    this.#settledSeconds = (performance.now() - beganAt) / 1000
    for (const each of left) journal.fault('', `Still there at the end: ${each}`)
    // From now on nothing changes: after 5 s every list must be right.
    const slowestMs = Math.max(...lives.map((life) => life.slowestListMs))
    await delay(promisedAgeMs + slowestMs + this.#options.afterlifeMs)
    this.#news.judge(true)
    const lookedAt = performance.now()
    const shown = await Promise.all(lives.map((life) => shownBy(life)))
    for (const [index, each] of shown.entries()) {
      this.#compare(shown[0], each, lives[index])
    }
    changes.followAll(shown[0].versions, { beganAt: lookedAt, endedAt: performance.now() })
    for (const { name, uuid } of pulls.open) journal.fault(name, `The pull ${uuid} has not ended.`)
    const ready = shown[0].versions.filter((image) => image.state === 'ready')
    for (const fault of model.faults(ready.map(asSeen))) journal.fault(fault.split(' ')[0], fault)
    for (const fault of await this.#places[0].foreignFaults()) journal.fault('', fault)
    await this.#downloadAll(ready)
  }

  async #unsettled(lives) {
    const found = await this.#places[0].leftovers(lives.length)
    try {
      for (const { name, version, state } of await everything(lives[0].url)) {
        if (state !== 'ready' && state !== 'failed') found.push(`${name} ${version} is ${state}.`)
      }
    } catch (error) {
      if (error.status !== 404) throw error
      // The list of names may be older than the end of a pull that was deleted.
      found.push(error.message)
    }
    if (found.length > 0) return found
    // Nobody takes over from a successor that lives, and each successor is taken over once it died.
    const most = 1 + this.#deaths.length
    return [...takeOvers(await this.#places[0].keys())]
      .filter(([, times]) => times > most)
      .map(([id, times]) => `${id} was taken over ${times} times.`)
  }

  #compare(first, other, life) {
    const { journal } = this.#context
    for (const part of ['newest', 'versions']) {
      const [one, two] = [first, other].map((each) => each[part].map(idOf))
      for (const id of one.filter((each) => !two.includes(each))) {
        journal.fault(id.split(' ')[0], `${part}: another server shows ${id}, this one not`, life)
      }
      if (one.length !== two.length || one.some((id, index) => id !== two[index])) {
        journal.fault('', `${part}: this server shows others, or in another order`, life)
      }
    }
  }

  async #downloadAll(ready) {
    const { fleet, looks } = this.#context
    const chosen = ready.toSorted(() => this.#random() - 0.5).slice(0, downloadsMost)
    for (const { name, version } of chosen) {
      await looks.download(fleet.pick(this.#random), name, version)
    }
  }
}

async function shownBy({ url }) {
  return { newest: await listImages(url), versions: await everything(url) }
}

async function everything(url) {
  const all = []
  for (const { name } of await listImages(url)) all.push(...(await listVersions(url, name)))
  return all
}

function idOf({ name, version, uuid, state, currentChecksum }) {
  return `${name} ${version} ${uuid} ${state} ${currentChecksum.slice(0, 12)}`
}

function asSeen({ name, version, currentChecksum }) {
  return { name, version, sha512: currentChecksum }
}
