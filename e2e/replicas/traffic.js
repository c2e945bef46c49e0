// Many clients that do everything to a few hot names and a long tail of others, on any server.

import { setTimeout as delay } from 'node:timers/promises'
import { between, commonBody, pick, randomBody, seeded } from '../durability/bodies.js'
import { fetchedNames } from '../durability/pulls.js'

const kibibyte = 1024
const givenVersions = ['stable', '2026.1', '7']
/** Of each hundred turns of a client. */
const shares = {
  upload: 32,
  race: 5,
  pull: 7,
  follow: 10,
  rollback: 8,
  remove: 12,
  newest: 12,
  version: 8,
  versions: 8,
  list: 4,
  download: 11,
}

export class Traffic {
  #context
  #options
  #hot
  #names
  #bodies = 0
  #races = 0

  /** `options`: clients, names, largeBytes, largeShare, thinkMs, seed. */
  constructor(context, options) {
    this.#context = context
    this.#options = options
    this.#names = Array.from({ length: options.names }, (_, number) => `image-${number}`)
    this.#hot = this.#names.slice(0, 4)
  }

  /** Resolves when every client has had its last answer. */
  async run(isStopped) {
    const { clients, seed } = this.#options
    await Promise.all(
      Array.from({ length: clients }, (_, number) =>
        this.#client(seeded(seed + 7919 * (number + 1)), isStopped),
      ),
    )
  }

  async #client(random, isStopped) {
    while (!isStopped()) {
      await delay(between(random, 0, this.#options.thinkMs))
      const life = this.#context.fleet.pick(random)
      if (life === undefined) continue
      await this[`_${choose(random)}`](life, this.#name(random), random)
    }
  }

  #name(random) {
    if (random() < 0.3) return pick(random, this.#hot)
    // The further back, the rarer.
    return this.#names[Math.floor(random() ** 2 * this.#names.length)]
  }

  #body(random) {
    return random() < 0.2 ? commonBody(random) : this.#freshBody(random)
  }

  #freshBody(random) {
    const { largeShare, largeBytes, seed } = this.#options
    this.#bodies += 1
    const size =
      random() < largeShare
        ? between(random, largeBytes / 4, largeBytes)
        : between(random, 1, pick(random, [4, 64, 256]) * kibibyte)
    return randomBody(`${seed} ${this.#bodies}`, size)
  }

  async _upload(life, name, random) {
    const { changes, fleet, looks } = this.#context
    const version = random() < 0.35 ? pick(random, givenVersions) : undefined
    const body = this.#body(random)
    const paceMs = random() < 0.2 ? between(random, 1, 200) : 0
    const options = { version, paceMs, checksum: random() < 0.4 }
    const status = await changes.upload(life, name, body, options)
    // Acknowledged is there on every server at once.
    if (status !== 201 || random() < 0.5) return
    const other = fleet.pick(random, life)
    if (other === undefined) return
    await (random() < 0.3 ? looks.download(other, name) : looks.get(other, name, version))
  }

  /** Several clients send one name and version at once, to any server: one of them wins. */
  async _race(life, name, random) {
    const { changes, counts, fleet, journal, model } = this.#context
    this.#races += 1
    const version = `race-${this.#races}`
    const bodies = [this.#body(random), this.#freshBody(random)]
    const beganAt = performance.now()
    const answers = await Promise.all(
      Array.from({ length: between(random, 2, 6) }, async () => {
        const body = pick(random, bodies)
        const any = fleet.pick(random) ?? life
        return { body, status: await changes.upload(any, name, body, { version }) }
      }),
    )
    const isDefinite = answers.every(({ status }) => [200, 201, 409].includes(status))
    if (!isDefinite || model.mayBeDeleted({ name, version, beganAt })) return
    counts.add('race', 'decided')
    const winners = answers.filter(({ status }) => status === 201)
    const isRight = answers.every(
      ({ body, status }) => status === 201 || (status === 200) === (body === winners[0]?.body),
    )
    if (winners.length === 1 && isRight) return
    const told = answers.map(({ body, status }) => `body ${bodies.indexOf(body)}: ${status}`)
    journal.fault(name, `A race for ${version} ended with ${told.join(', ')}`)
  }

  async _pull(life, name, random) {
    const isKept = random() < 0.5
    const target = isKept ? pick(random, fetchedNames) : name
    const version = !isKept && random() < 0.5 ? pick(random, givenVersions) : undefined
    await this.#context.changes.pull(life, target, this.#body(random), { version, random })
  }

  /** Looks at one that is under way. */
  async _follow(life, _, random) {
    const asked = this.#context.pulls.open.filter(({ askedUntil }) => askedUntil !== undefined)
    if (asked.length > 0) await this.#context.changes.follow(life, pick(random, asked))
  }

  async _rollback(life, name, random) {
    const label = this.#label(name, random)
    if (label !== undefined) await this.#context.changes.rollback(life, name, label)
  }

  async _remove(life, name, random) {
    const { changes, fleet, looks } = this.#context
    const version = random() < 0.6 ? this.#label(name, random) : undefined
    const status = await changes.remove(life, name, version)
    if (status !== 204 || random() < 0.5) return
    const other = fleet.pick(random, life)
    if (other === undefined) return
    if (random() < 0.5) await looks.versions(other, name)
    else await looks.get(other, name, version)
  }

  async _newest(life, name) {
    await this.#context.looks.get(life, name)
  }

  async _version(life, name, random) {
    await this.#context.looks.get(life, name, this.#label(name, random))
  }

  async _versions(life, name) {
    await this.#context.looks.versions(life, name)
  }

  async _list(life) {
    await this.#context.looks.list(life)
  }

  async _download(life, name, random) {
    const version = random() < 0.5 ? this.#label(name, random) : undefined
    await this.#context.looks.download(life, name, version)
  }

  /** One that was there, is there, or may come. */
  #label(name, random) {
    const labels = this.#context.model.labels(name)
    return labels.length > 0 ? pick(random, labels.slice(-12)) : undefined
  }
}

function choose(random) {
  let at = random() * Object.values(shares).reduce((sum, share) => sum + share, 0)
  for (const [kind, share] of Object.entries(shares)) {
    at -= share
    if (at < 0) return kind
  }
  return 'upload'
}
