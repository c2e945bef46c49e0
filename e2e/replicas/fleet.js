// Several servers over one store, any of which may be killed and started again at any moment.

import { pick } from '../durability/bodies.js'
import { ServerProcess } from '../durability/server.js'
import { Feed } from './feed.js'

/** One server from its start to its death. */
class Life {
  killedAt = Infinity
  /** The longest that a list took to answer, which tells how slow machine and store are. */
  slowestListMs = 0
  /** The longest that a look at the store took: a get, all versions of a name, or a list. */
  slowestLookMs = 0

  constructor({ slot, generation, server, url, journal }) {
    Object.assign(this, { slot, server, url })
    this.title = `server ${slot}.${generation}`
    this.feed = new Feed(url, () => this.isAlive, journal)
  }

  get isAlive() {
    return this.killedAt === Infinity
  }
}

export class Fleet {
  #slots
  #journal

  /** One server for each place; all places reach the same store. */
  constructor(places, journal) {
    this.#slots = places.map((place, slot) => ({ place, slot, generation: 0, life: undefined }))
    this.#journal = journal
  }

  get size() {
    return this.#slots.length
  }

  async startAll() {
    await Promise.all(this.#slots.map((each) => each.life ?? this.start(each.slot)))
  }

  async start(slot) {
    const each = this.#slots[slot]
    const { folder, env } = each.place
    const server = new ServerProcess(folder, env)
    each.server = server
    const url = await server.listening(120_000)
    each.generation += 1
    const { generation } = each
    const life = new Life({ slot, generation, server, url, journal: this.#journal })
    await life.feed.opened
    each.life = life
    return life
  }

  /** Those that listen now. */
  lives() {
    return this.#slots.map(({ life }) => life).filter((life) => life !== undefined)
  }

  /** Any that listens, but not `except`. */
  pick(random, except) {
    return pick(
      random,
      this.lives().filter((life) => life !== except),
    )
  }

  /** SIGKILL. Resolves when it is dead; rejects with its log when it had ended by itself. */
  async kill(life) {
    const each = this.#slots[life.slot]
    life.killedAt = performance.now()
    each.life = undefined
    await life.server.kill()
    life.feed.close()
  }

  /** Ends all. Resolves to what went wrong with any of them, as sentences. */
  async end() {
    const faults = []
    for (const each of this.#slots) {
      if (each.life) each.life.killedAt = performance.now()
      each.life?.feed.close()
      await each.server?.kill().catch((error) => faults.push(error.message))
    }
    return faults
  }
}
