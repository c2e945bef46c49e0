// One round after the other: start the server on what the last kill has left, check everything that
// it must hold, load it, kill it.

import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { between, seeded } from './bodies.js'
import { leftovers, temporaryLeftovers } from './disk.js'
import { Counts, Load } from './load.js'
import { Model } from './model.js'
import { Review, everyVersion } from './review.js'
import { ServerProcess } from './server.js'

const downloadsPerRound = 4
const foreignFolder = 'base-0badcafe'
const foreignContent = 'an image that Longhorn made'

/** Kills the server of one folder `rounds` times. Rejects with everything that was wrong. */
export class Crashes {
  #root
  #random
  #label
  #model = new Model()
  #review
  #counts
  #foreignInode

  constructor({ root, seed, counts = new Counts() }) {
    this.#root = root
    this.#random = seeded(seed)
    this.#label = `seed ${seed}`
    this.#counts = counts
    this.#review = new Review(this.#model, this.#random)
    const folder = join(root, foreignFolder)
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'backing'), foreignContent)
    this.#foreignInode = statSync(join(folder, 'backing')).ino
  }

  async run(rounds) {
    for (let round = 1; round <= rounds; round += 1) {
      const faults = await this.#round(round)
      if (faults.length === 0) continue
      throw new Error(`Round ${round}, ${this.#label}:\n  ${faults.slice(0, 20).join('\n  ')}`)
    }
    const faults = await this.#lastLook()
    if (faults.length > 0) throw new Error(`At the end, ${this.#label}:\n  ${faults.join('\n  ')}`)
  }

  async #round(round) {
    const server = new ServerProcess(this.#root)
    try {
      // Now and then it dies while it still tidies up behind the last one.
      if (this.#random() < 0.1) {
        await delay(between(this.#random, 150, 600))
        this.#counts.add('kill', 'at start')
        return []
      }
      const url = await server.listening()
      const faults = await this.#faults(url, downloadsPerRound)
      if (faults.length > 0) return [...faults, server.log]
      return await this.#load(url, round, server)
    } finally {
      await server.kill()
    }
  }

  async #load(url, round, server) {
    const load = new Load({
      url,
      model: this.#model,
      random: this.#random,
      counts: this.#counts,
      label: `${this.#label} ${round}`,
    })
    const running = load.run()
    await delay(between(this.#random, 50, 700))
    load.stop()
    await server.kill()
    await running
    this.#model.stopAll(performance.now())
    this.#counts.add('kill', 'under load')
    return load.faults
  }

  async #lastLook() {
    const server = new ServerProcess(this.#root)
    try {
      return await this.#faults(await server.listening(), Infinity)
    } finally {
      await server.kill()
    }
  }

  /** Everything that is wrong with a server that has just started. */
  async #faults(url, downloads) {
    // First: what was interrupted must be settled before anybody is served.
    const faults = [...leftovers(this.#root, [foreignFolder]), ...temporaryLeftovers(this.#root)]
    const images = await everyVersion(url)
    for (const { name, version, uuid, state } of images) {
      const isOver = state === 'ready' || state === 'failed'
      if (!isOver) faults.push(`${name} ${version} is ${state} without an owner.`)
      if (`${name}-${uuid}` === foreignFolder) faults.push(`${foreignFolder} is shown as ours.`)
    }
    return [...faults, ...this.#foreignFaults(), ...(await this.#review.faults(url, downloads))]
  }

  #foreignFaults() {
    const path = join(this.#root, foreignFolder, 'backing')
    const isSame =
      statSync(path, { throwIfNoEntry: false })?.ino === this.#foreignInode &&
      readFileSync(path, 'utf8') === foreignContent
    return isSame ? [] : [`${foreignFolder} was touched, and is not ours.`]
  }
}
