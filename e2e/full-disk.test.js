// A disk that is really full: what has no room is refused and leaves nothing, what is there can be
// read, and a delete makes room again.
//
//   node scripts/test.js e2e/full-disk.test.js      as root

import http from 'node:http'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { randomBody } from './durability/bodies.js'
import { download, getJson, listImages, listVersions } from './durability/client.js'
import { put, remove, sha512Of } from './durability/client.js'
import { leftovers } from './durability/disk.js'
import { ServerProcess } from './durability/server.js'
import { mountSmallDisk } from './durability/small-disk.js'
import { freshFolder, requireTools, until } from './machine.js'

const mebibyte = 1024 * 1024
const diskBytes = 96 * mebibyte
const imageBytes = 8 * mebibyte

const full = suite('a full disk')
let folder
let disk
let server
let url
/** Digest by name of what was acknowledged. */
const stored = new Map()

full.before(async () => {
  requireTools('mkfs.ext4')
  folder = freshFolder()
  disk = await mountSmallDisk(folder.path, diskBytes)
  await start()
})

full.after(async () => {
  // That it ended by itself is the failure of the test that waited for it.
  await server?.kill().catch((error) => console.log(error.message))
  await disk?.unmount()
  folder?.remove()
})

async function start() {
  server = new ServerProcess(disk.path, { IDLE_TIMEOUT: '10s' })
  url = await server.listening()
}

async function store(name, sizeBytes) {
  const body = randomBody(name, sizeBytes)
  const answer = await put(url, name, body)
  if (answer.status === 201) stored.set(name, sha512Of(body))
  return answer
}

async function assertDeleted(name) {
  const { status, body } = await remove(url, name)
  assert.is(status, 204, `${body}`)
  stored.delete(name)
}

/** Exactly what was acknowledged is there, whole; nothing else, not even a failure, is shown. */
async function assertIntact() {
  const images = await listImages(url)
  const states = images.map(({ name, state }) => `${name} ${state}`)
  assert.equal(
    states,
    [...stored.keys()].map((name) => `${name} ready`).toSorted((a, b) => (a < b ? -1 : 1)),
  )
  for (const [name, sha512] of stored) {
    const [image] = await listVersions(url, name)
    assert.is((await download(url, name, image.version)).sha512, sha512, name)
  }
  assert.equal(leftovers(disk.path), [])
}

/** Asks with `Expect: 100-continue`; tells whether the body was wanted. */
function askFirst(name, sizeBytes) {
  return new Promise((resolve, reject) => {
    const headers = { Expect: '100-continue', 'Content-Length': sizeBytes }
    const target = `${url}/v1/backing-images/${name}`
    const request = http.request(target, { method: 'PUT', headers, agent: false })
    request.on('error', reject)
    request.on('continue', () => {
      request.destroy()
      resolve({ isWanted: true })
    })
    request.on('response', (response) => {
      response.resume()
      resolve({ isWanted: false, status: response.statusCode })
      request.destroy()
    })
    request.flushHeaders()
  })
}

async function* endless() {
  const chunk = randomBody('endless', mebibyte)
  for (;;) yield chunk
}

full('images are taken until the low-water mark, and then refused as no_space', async () => {
  for (let number = 1; ; number += 1) {
    const { status, body } = await store(`image-${number}`, imageBytes)
    if (status === 201) continue
    assert.is(status, 507, `${body}`)
    const problem = JSON.parse(body.toString())
    assert.is(problem.code, 'no_space')
    assert.ok(Number(problem.actual) < imageBytes, `${body}`)
    break
  }
  assert.ok(stored.size >= 7 && stored.size <= 11, `${stored.size} images fitted`)
  assert.ok(disk.freeBytes > diskBytes / 200, `only ${disk.freeBytes} bytes are left free`)
  await assertIntact()
})

full('a known size that has no room is refused before its body is read', async () => {
  const before = disk.freeBytes
  assert.equal(await askFirst('known', imageBytes), { isWanted: false, status: 507 })
  // The same question with room is answered by "100 Continue".
  assert.equal(await askFirst('small', 4096), { isWanted: true })
  await until('the upload that was left is forgotten', async () => {
    const { status } = await remove(url, 'small')
    return status === 204 || status === 404
  })
  await until('its failure is gone', async () => (await listImages(url)).length === stored.size)
  assert.ok(disk.freeBytes >= before - 65_536, `${before - disk.freeBytes} bytes were lost`)
  await assertIntact()
})

full('an upload of unknown size is refused when the disk is full, and leaves nothing', async () => {
  const before = disk.freeBytes
  const answer = await put(url, 'unknown', endless())
  assert.is(answer.status, 507, `${answer.body}`)
  assert.ok(disk.freeBytes >= before - 65_536, `${before - disk.freeBytes} bytes were lost`)
  await assertIntact()
})

full('when others take the last block, uploads are refused and all is still readable', async () => {
  await disk.fill()
  for (const size of [1, 100_000, imageBytes]) {
    const { status, body } = await store('late', size)
    assert.ok(status === 507 || status === 503, `${size} bytes: ${status} ${body}`)
  }
  const unknown = await put(url, 'unknown', endless())
  assert.ok(unknown.status === 507 || unknown.status === 503, `${unknown.status}`)
  await assertIntact()
  assert.equal(await getJson(`${url}/health`), { status: 'ok' })
})

full('a delete on the full disk succeeds, and then an upload does', async () => {
  await assertDeleted('image-1')
  assert.ok(disk.freeBytes >= imageBytes / 2, `${disk.freeBytes} bytes are free`)
  assert.is((await store('after', imageBytes / 4)).status, 201)
  await assertIntact()
})

full('it starts on a full disk, serves what is there, and a delete makes room', async () => {
  await disk.fill('again')
  await server.kill()
  await start()
  for (const [name, sha512] of stored) {
    const [image] = await listVersions(url, name)
    assert.is((await download(url, name, image.version)).sha512, sha512, name)
  }
  await assertDeleted('image-2')
  disk.empty('again')
  disk.empty()
  assert.is((await store('at-last', imageBytes)).status, 201)
  await assertIntact()
  assert.is(readFileSync(join(disk.path, '.tmp', 'ballast')).length > 0, true)
})

full.run()
