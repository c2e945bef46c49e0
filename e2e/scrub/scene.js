// A store whose bytes go bad behind the back of its server, and what is asked of that server.

import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { getJson, listPath, put, request, sha512Of } from '../durability/client.js'
import { failureOf, root, run, until } from '../machine.js'
import { SyncScene } from '../sync/scene.js'

const program = join(root, 'packages/server/bin/backing-image-manager.cjs')
const patienceMs = 180_000

export const mebibyte = 1024 * 1024
/** Of an image. */
export const size = 12 * mebibyte
/** Where a byte is changed: in the second block of three. */
export const at = 5 * mebibyte + 77

/** The key of the bytes that came with an image. */
export function bytesKey({ name, uuid }) {
  return `${name}-${uuid}/backing`
}

/** The whole content in memory; with one byte changed, if it is told which. */
export function bufferOf(content, changed) {
  const buffer = Buffer.concat([...content.read(0)])
  if (changed !== undefined) buffer[changed] ^= 1
  return buffer
}

export class ScrubScene extends SyncScene {
  /** The permanent URLs of images that were served, by uuid. */
  #files = new Map()

  /** Resolves to the image. */
  async upload(url, name, content) {
    const { status, body } = await put(url, name, bufferOf(content))
    assert.is(status, 201, `${body}`)
    return JSON.parse(body)
  }

  /** The keys of the store, but for what tells of scrubs and canaries. */
  async keys() {
    const keys = await this.place.keys()
    return keys.filter((key) => !/^\.jobs\/(SCRUB|canary)|^\.tmp/.test(key)).toSorted()
  }

  /** Resolves to the report as it begins; once another scrub is over, where one may still run. */
  async begin(url, asked = {}) {
    let answer
    await until(
      'no other scrub runs',
      async () => {
        const body = Buffer.from(JSON.stringify(asked))
        const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length }
        answer = await request(`${url}/v1/scrub`, { method: 'POST', headers, body })
        return answer.status !== 409
      },
      patienceMs,
    )
    assert.is(answer.status, 202, `${answer.body}`)
    return JSON.parse(answer.body)
  }

  /** Resolves to the report when it has ended. */
  async ended(url, { id }) {
    const look = async () => {
      const report = await getJson(`${url}/v1/scrub/${id}`)
      return report.state !== 'running' && report
    }
    return await until('the scrub has ended', look, patienceMs)
  }

  /** A whole scrub, which gets to its end. */
  async scrub(url, asked) {
    const report = await this.ended(url, await this.begin(url, asked))
    assert.is(report.state, 'done', report.message)
    return report
  }

  /** A scrub with repair that finds one fault, which is told of these bytes; resolves to it. */
  async repairs(url, image, step, how = 'done') {
    const faults = findingsOf(await this.scrub(url, { repair: true }), { level: 'fault' })
    assert.equal(
      faults.map((fault) => [fault.step, fault.key, fault.repair]),
      [[step, bytesKey(image), how]],
    )
    return faults[0]
  }

  /** What a scrub says once all that was damaged is replaced. */
  async isSound(url, serversMost) {
    const report = await this.scrub(url)
    assert.equal(findingsOf(report, { level: 'fault' }), [])
    assert.is(findingsOf(report, { step: 'corrupt', level: 'note' }).length, 1)
    await this.isTidy(serversMost)
  }

  /** The same without any time for it. */
  async isTidyNow() {
    assert.equal(await this.place.leftovers(), [])
  }

  /** The store has no bytes, records or marks of corrupt bytes. */
  async isEmpty() {
    await this.isTidy()
    const left = (await this.keys()).filter((key) => /^\.catalog\/.*json|corrupt|backing/.test(key))
    assert.equal(left, [])
  }

  /** The command: its exit code and what it wrote. */
  async command(url, ...args) {
    const options = { env: { BACKING_IMAGE_MANAGER_URL: url }, timeoutMs: patienceMs }
    const { code, stdout, stderr } = await failureOf(
      process.execPath,
      [program, 'scrub', ...args],
      options,
    )
    return { code, stdout, stderr }
  }

  /** What it writes where nothing is wrong. */
  async soundCommand(url, ...args) {
    const options = { env: { BACKING_IMAGE_MANAGER_URL: url }, timeoutMs: patienceMs }
    return await run(process.execPath, [program, 'scrub', ...args], options)
  }

  /** It is ready, and these are the bytes that are served. */
  async isServed(url, { name, uuid }, content) {
    const image = await getJson(`${url}${listPath}/${name}?uuid=${uuid}`)
    assert.is(image.state, 'ready', image.message)
    const file = new URL(image.links.file).pathname
    this.#files.set(uuid, file)
    const sha512 = sha512Of(Buffer.isBuffer(content) ? content : bufferOf(content))
    for (const path of [`${listPath}/${name}/download`, file]) {
      const { status, body } = await request(url + path)
      assert.is(status, 200, path)
      assert.is(sha512Of(body), sha512, path)
    }
  }

  /** It has failed, and nobody is given its bytes, which had been served before. */
  async isRefused(url, { name, uuid }) {
    const image = await getJson(`${url}${listPath}/${name}?uuid=${uuid}`)
    assert.is(image.state, 'failed')
    assert.match(image.message, 'no longer what was stored')
    for (const path of [`${listPath}/${name}/download`, this.#files.get(uuid)]) {
      const { status, body } = await request(url + path)
      assert.is(status, 404, path)
      assert.is(JSON.parse(body).code, 'not_found')
    }
  }
}

/** What a report tells of a step, or of a key. */
export function findingsOf({ findings }, asked) {
  return findings.filter((finding) =>
    Object.entries(asked).every(([field, value]) => finding[field] === value),
  )
}
