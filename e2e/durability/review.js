// Compares what a server shows and serves with what it may, by the model.

import { pick } from './bodies.js'
import { download, listImages, listVersions } from './client.js'

/** Every version of every name, in whatever state; also of names that the list may not have yet. */
export async function everyVersion(url, others = []) {
  const images = []
  const listed = (await listImages(url)).map(({ name }) => name)
  for (const name of listed) images.push(...(await listVersions(url, name)))
  for (const name of others.filter((each) => !listed.includes(each))) {
    const found = await listVersions(url, name).catch((error) => error)
    if (Array.isArray(found)) images.push(...found)
    else if (found.status !== 404) throw found
  }
  return images
}

export class Review {
  #model
  #random
  #pulls
  /** Versions whose bytes were compared before, by name, version and digest. */
  #compared = new Set()

  /** `pulls` may be under way meanwhile. */
  constructor(model, random, pulls) {
    this.#pulls = pulls
    this.#model = model
    this.#random = random
  }

  /**
   * What is wrong, as sentences, when nothing but pulls is under way; the model goes on from what is there. New
   * versions are downloaded, and `downloads` of the others.
   */
  async faults(url, downloads) {
    const beganAt = performance.now()
    const images = await everyVersion(url, this.#pulls?.names)
    const look = { beganAt, endedAt: performance.now() }
    const ready = images
      .filter((image) => image.state === 'ready')
      .map(({ name, version, currentChecksum, size }) => {
        return { name, version, sha512: currentChecksum, size }
      })
    const faults = this.#pulls?.judgeAll(images, look) ?? []
    faults.push(...this.#model.faults(ready))
    faults.push(...(await this.#compare(url, ready, downloads)))
    this.#model.settle(ready, performance.now())
    return faults
  }

  /** Whole, and what its digest says. */
  async #compare(url, ready, downloads) {
    const idOf = ({ name, version, sha512 }) => `${name} ${version} ${sha512}`
    const known = ready.filter((image) => this.#compared.has(idOf(image)))
    const chosen = ready.filter((image) => !this.#compared.has(idOf(image)))
    if (downloads >= known.length) chosen.push(...known)
    else for (let n = 0; n < downloads; n += 1) chosen.push(pick(this.#random, known))
    const faults = []
    for (const image of chosen) {
      const { name, version, sha512, size } = image
      const found = await download(url, name, version)
      if (found.sha512 !== sha512 || found.size !== size) {
        faults.push(`${name} ${version} has ${found.size} bytes that are not those of its digest.`)
      }
      this.#compared.add(idOf(image))
    }
    return faults
  }
}
