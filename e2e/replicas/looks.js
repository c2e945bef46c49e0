// Looks at names on any server while everybody works, each judged by the model: what is acknowledged is
// there on every server at once, what is deleted is gone, and only the list of all names may be old.

import { listPath, request, sha512Of } from '../durability/client.js'

/** The promise of the list of names and of events, docs/api.md. */
export const promisedAgeMs = 5000
const lookKinds = ['get', 'versions', 'list']

export class Looks {
  #model
  #journal
  #counts

  constructor({ model, journal, counts }) {
    this.#model = model
    this.#journal = journal
    this.#counts = counts
  }

  /**
   * One request, noted. Resolves to the answer and the times of the look; `answer` is undefined when
   * the server was killed meanwhile. Where it lives it must answer, unless `mayBreak()` says otherwise.
   */
  async ask(life, name, what, send, mayBreak = () => false) {
    const kind = what.split(' ')[0]
    const entry = this.#journal.begin(name, what, life)
    const { beganAt } = entry
    try {
      const answer = await send(life.url)
      const endedAt = entry.end(answer.status)
      this.#counts.add(kind, answer.status)
      if (lookKinds.includes(kind)) {
        life.slowestLookMs = Math.max(life.slowestLookMs, endedAt - beganAt)
      }
      if (answer.status >= 500 && answer.status !== 503) {
        this.#journal.fault(name, `${what} was answered ${answer.status} ${answer.body}`, life)
      }
      return { answer, beganAt, endedAt }
    } catch (error) {
      const endedAt = entry.end(error.message)
      this.#counts.add(kind, life.isAlive ? 'broken' : 'cut')
      if (life.isAlive && !mayBreak()) {
        this.#journal.fault(
          name,
          `${what} failed although the server lives: ${error.message}`,
          life,
        )
      }
      return { answer: undefined, beganAt, endedAt }
    }
  }

  #judge(name, life, what, faults) {
    for (const fault of faults) {
      if (fault !== undefined) this.#journal.fault(name, `${what}: ${fault}`, life)
    }
  }

  /** GET of a name, or of one version of it: always as the store is now. */
  async get(life, name, version) {
    const what = version === undefined ? 'get newest' : `get ${version}`
    const query = version === undefined ? '' : `?version=${version}`
    const look = await this.ask(life, name, what, (url) =>
      request(`${url}${listPath}/${name}${query}`),
    )
    const { answer } = look
    if (answer === undefined || answer.status === 503) return undefined
    const image = answer.status === 200 ? JSON.parse(answer.body.toString()) : undefined
    if (image?.state !== 'ready') {
      this.#judge(name, life, what, [this.#model.faultOfNone(name, look, version)])
      return image
    }
    const seen = asSeen(image)
    const faults = [this.#model.faultOfSeen(seen, look)]
    if (version === undefined) faults.push(this.#model.faultOfNewest(seen, look))
    else if (image.version !== version) faults.push(`It is of version ${image.version}.`)
    this.#judge(name, life, what, faults)
    return image
  }

  /** All versions of a name: as the store is now. */
  async versions(life, name) {
    const look = await this.ask(life, name, 'versions', (url) =>
      request(`${url}${listPath}/${name}/versions?limit=1000`),
    )
    if (look.answer?.status !== 200) return []
    const { data } = JSON.parse(look.answer.body.toString())
    const ready = data.filter((image) => image.state === 'ready').map(asSeen)
    const faults = ready.map((image) => this.#model.faultOfSeen(image, look))
    faults.push(...this.#model.faultsOfMissing(name, ready, look))
    if (ready.length > 0) faults.push(this.#model.faultOfNewest(ready[0], look))
    this.#judge(name, life, 'versions', faults)
    return data
  }

  /** What came of one ingest, or, where its uuid is not known, all of its name; `images` when answered. */
  async atPull(life, name, uuid) {
    const what = uuid === undefined ? 'look for a pull' : `look for ${uuid}`
    const path = uuid === undefined ? `${name}/versions?limit=1000` : `${name}?uuid=${uuid}`
    const look = await this.ask(life, name, what, (url) => request(`${url}${listPath}/${path}`))
    const { status, body } = look.answer ?? {}
    if (status === 404) return { ...look, images: [] }
    if (status !== 200) return look
    const found = JSON.parse(body.toString())
    return { ...look, images: uuid === undefined ? found.data : [found] }
  }

  /**
   * The list of all names: at most 5 s old when it was asked for. A store that takes long to be listed
   * shows what was there when that began, which the longest wait for a list tells.
   */
  async list(life) {
    const look = await this.ask(life, '', 'list', (url) => request(`${url}${listPath}?limit=1000`))
    if (look.answer?.status !== 200) return []
    life.slowestListMs = Math.max(life.slowestListMs, look.endedAt - look.beganAt)
    const { data } = JSON.parse(look.answer.body.toString())
    const aged = { ...look, ageMs: promisedAgeMs + life.slowestListMs }
    const ready = new Map(
      data.filter((image) => image.state === 'ready').map((image) => [image.name, asSeen(image)]),
    )
    for (const name of this.#model.names()) {
      const seen = ready.get(name)
      const faults = seen
        ? [this.#model.faultOfSeen(seen, aged), this.#model.faultOfNewest(seen, aged)]
        : [this.#model.faultOfNone(name, aged)]
      const what = `list asked for at ${look.beganAt.toFixed()} (slowest ${life.slowestListMs.toFixed()} ms)`
      this.#judge(name, life, what, faults)
    }
    return data
  }

  /** The bytes: exactly those of an acknowledged version, or an error. Resolves to their digest. */
  async download(life, name, version) {
    const what = version === undefined ? 'download newest' : `download ${version}`
    const query = version === undefined ? '' : `?version=${version}`
    const began = { name, version, beganAt: performance.now() }
    const look = await this.ask(
      life,
      name,
      what,
      (url) => request(`${url}${listPath}/${name}/download${query}`),
      // Deleted while it was read: the connection is cut.
      () => this.#model.mayBeDeleted(began),
    )
    const { answer } = look
    if (answer?.status === 404) {
      this.#judge(name, life, what, [this.#model.faultOfNone(name, look, version)])
    }
    if (answer?.status !== 200) return undefined
    const sha512 = sha512Of(answer.body)
    const faults = []
    if (answer.headers.etag !== `"${sha512}"`) {
      faults.push(`The ${answer.body.length} bytes are not those of their ETag.`)
    }
    const [, file] = /filename="(.*)\.[a-z0-9]+"/.exec(answer.headers['content-disposition']) ?? []
    const seen = { name, version: version ?? file?.slice(name.length + 1), sha512 }
    faults.push(this.#model.faultOfSeen(seen, look))
    if (version === undefined) faults.push(this.#model.faultOfNewest(seen, look))
    this.#judge(name, life, what, faults)
    return sha512
  }
}

function asSeen({ name, version, currentChecksum }) {
  return { name, version, sha512: currentChecksum }
}
