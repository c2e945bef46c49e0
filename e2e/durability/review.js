// Compares what a server shows and serves with what it may, by the model.

import { pick } from './bodies.js'
import { download, listImages, listVersions } from './client.js'

/** Every version of every name, in whatever state. */
export async function everyVersion(url) {
  const images = []
  for (const { name } of await listImages(url)) images.push(...(await listVersions(url, name)))
  return images
}

export class Review {
  #model
  #random
  /** Versions whose bytes were compared before, by name, version and digest. */
  #compared = new Set()

  constructor(model, random) {
    this.#model = model
    this.#random = random
  }

  /**
   * What is wrong, as sentences, when nothing is under way; the model goes on from what is there. New
   * versions are downloaded, and `downloads` of the others.
   */
  async faults(url, downloads) {
    const ready = (await everyVersion(url))
      .filter((image) => image.state === 'ready')
      .map(({ name, version, currentChecksum, size }) => {
        return { name, version, sha512: currentChecksum, size }
      })
    const faults = this.#model.faults(ready)
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
