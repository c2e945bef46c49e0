// One round after the other: start the server on what the last kill has left, check everything that
// it must hold, load it, kill it. Pulls stay open over as many rounds as they take.

import { setTimeout as delay } from 'node:timers/promises'
import { between, seeded } from './bodies.js'
import { Counts, Load } from './load.js'
import { Model } from './model.js'
import { foreignFolder } from './place.js'
import { Pulls } from './pulls.js'
import { Review, everyVersion } from './review.js'
import { ServerProcess } from './server.js'

const downloadsPerRound = 4
/** Leases take 30 s where nobody can prove a death; then somebody has to look. Generous. */
const settledTimeoutMs = 180_000
const takeOverTimeoutMs = 45_000

/** Kills the server of one place `rounds` times. Rejects with everything that was wrong. */
export class Crashes {
  #place
  #random
  #label
  #loadOptions
  #model = new Model()
  #review
  #pulls
  #counts

  /**
   * Images are fetched from `web`. `loadOptions` are those of Load, and: after at most `patienceMs` of waiting for a few uploads to be
   * acknowledged the server is killed within `loadMostMs`.
   */
  constructor({ place, web, seed, counts = new Counts(), loadOptions = {} }) {
    this.#place = place
    this.#random = seeded(seed)
    this.#label = `seed ${seed}`
    this.#counts = counts
    this.#loadOptions = loadOptions
    const label = `${this.#label} ${performance.now()}`
    this.#pulls = new Pulls({ web, model: this.#model, counts, label })
    this.#review = new Review(this.#model, this.#random, this.#pulls)
  }

  async run(rounds) {
    await this.#place.plantForeign()
    for (let round = 1; round <= rounds; round += 1) {
      const faults = await this.#round(round, round === Math.ceil(rounds / 2))
      if (faults.length === 0) continue
      throw new Error(`Round ${round}, ${this.#label}:\n  ${faults.slice(0, 20).join('\n  ')}`)
    }
    const faults = await this.#lastLook()
    if (faults.length > 0) throw new Error(`At the end, ${this.#label}:\n  ${faults.join('\n  ')}`)
  }

  #start() {
    return new ServerProcess(this.#place.folder, this.#place.env)
  }

  async #round(round, isMiddle) {
    const server = this.#start()
    try {
      // Now and then it dies while it still tidies up behind the last one.
      if (!isMiddle && this.#random() < 0.1) {
        await delay(between(this.#random, 150, 600))
        await this.#kill(server)
        this.#counts.add('kill', 'at start')
        return []
      }
      const url = await server.listening()
      const faults = await this.#faults(url, downloadsPerRound)
      if (faults.length > 0) return [...faults, server.log]
      if (isMiddle && !this.#place.provesDeath) await this.#takeOvers()
      return await this.#load(url, round, server)
    } finally {
      await server.kill()
    }
  }

  async #kill(server) {
    const { coming } = this.#pulls
    if (coming.length > 0) this.#counts.add('kill', 'with pulls under way')
    await server.kill()
    this.#pulls.killed(coming, this.#random)
  }

  /** Where leases have to run out no round is long enough for that, but this one. */
  async #takeOvers() {
    const endsAt = performance.now() + takeOverTimeoutMs
    while (this.#pulls.open.length > 0 && performance.now() < endsAt) {
      if (this.#pulls.areGoneOnWith) return
      await delay(20)
    }
  }

  async #load(url, round, server) {
    const load = new Load({
      ...this.#loadOptions,
      url,
      model: this.#model,
      pulls: this.#pulls,
      random: this.#random,
      counts: this.#counts,
      label: `${this.#label} ${round}`,
    })
    const running = load.run()
    const { patienceMs = 0, loadMostMs = 700 } = this.#loadOptions
    // However slow the machine is, most deaths come when there is something to lose.
    if (patienceMs > 0) await load.hasAcknowledged(between(this.#random, 0, 4), patienceMs)
    await delay(between(this.#random, 50, loadMostMs))
    load.stop()
    await this.#kill(server)
    await running
    const unfinished = (await this.#place.unfinished?.()) ?? []
    if (unfinished.length > 0) this.#counts.add('kill', 'in mid-multipart')
    // What it had sent is decided by then: the next look counts as one after the end of everything.
    await delay(this.#place.afterlifeMs)
    this.#model.stopAll(performance.now())
    this.#counts.add('kill', 'under load')
    return load.faults
  }

  /** The work that the kills have interrupted comes to its end, and leaves nothing. */
  async #lastLook() {
    const server = this.#start()
    try {
      const url = await server.listening()
      const faults = await this.#faults(url, 0)
      this.#pulls.hurry()
      const beganAt = performance.now()
      let left = await this.#unsettled(await everyVersion(url))
      while (left.length > 0 && performance.now() - beganAt < settledTimeoutMs) {
        if (faults.length > 0) break
        await delay(1000)
        left = await this.#unsettled(await everyVersion(url))
      }
      faults.push(...left, ...(await this.#review.faults(url, Infinity)))
      for (const { name, uuid } of this.#pulls.open) faults.push(`${name}-${uuid} has not ended.`)
      return faults.length > 0 ? [...faults, server.log] : []
    } finally {
      await server.kill()
    }
  }

  /** Everything that is wrong with a server that has just started. */
  async #faults(url, downloads) {
    // First: where death is proved, what was interrupted is settled before anybody is served. But pulls
    // are gone on with.
    const images = await everyVersion(url, this.#pulls.names)
    this.#pulls.adopt(images, performance.now())
    const { provesDeath } = this.#place
    const faults = provesDeath ? await this.#unsettled(images, this.#pulls.busy) : []
    faults.push(...(await this.#place.foreignFaults()))
    return [...faults, ...(await this.#review.faults(url, downloads))]
  }

  /** What is left of work whose process is dead, but for the ingests in `busy`. */
  async #unsettled(images, busy = []) {
    const faults = await this.#place.leftovers(1, busy)
    for (const { name, version, uuid, state } of images) {
      const isOver = state === 'ready' || state === 'failed' || busy.includes(`${name}-${uuid}`)
      if (!isOver) faults.push(`${name} ${version} is ${state} without an owner.`)
      if (`${name}-${uuid}` === foreignFolder) faults.push(`${foreignFolder} is shown as ours.`)
    }
    return faults
  }
}
