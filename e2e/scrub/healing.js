// Acts of a scrub: damaged images come back from where they came, whatever happens meanwhile.

import * as assert from 'uvu/assert'
import { getJson, remove, request } from '../durability/client.js'
import { until } from '../machine.js'
import { seededContent } from '../servers/web.js'
import { blockBytes, isoContent } from '../sync/content.js'
import { Sender } from '../sync/scene.js'
import { at, bytesKey, findingsOf, mebibyte, size } from './scene.js'

const talkBytes = mebibyte / 2

/** An image that came from a URL, and is not any more what came. */
async function fetchAndRot(scene, url) {
  const content = seededContent(`scrub ${scene.name}`, size)
  const image = await scene.pull(url, 'web', content)
  await scene.arrives(url, image, content)
  await scene.place.damage(bytesKey(image), at)
  return { image, content }
}

export async function fetched(scene) {
  const { url } = await scene.start()
  const { image, content } = await fetchAndRot(scene, url)
  await scene.repairs(url, image, 'digests')
  assert.is(image.page.requests.length, 2)
  await scene.isServed(url, image, content)
  await scene.isSound(url)
  // With its image goes all that was there in its place.
  await scene.delete(url, image)
  await scene.isEmpty()
}

/** Another manager, and an image that came from there. */
async function withPeer(scene, openPeer, act) {
  const peer = await Sender.start('peer', await openPeer(scene.name))
  try {
    const content = isoContent(`scrub ${scene.name}`, { blocks: 5, zeros: [3] })
    const theirs = await peer.upload('base', content)
    const { url } = await scene.start()
    const image = await scene.sync(url, 'base', peer)
    await scene.arrivesAs(url, image, content, theirs)
    await scene.isServed(url, image, content)
    await scene.place.damage(bytesKey(image), at)
    await act({ peer, theirs, url, image, content })
    await scene.isServed(url, image, content)
    await scene.isSound(url)
  } finally {
    await peer.end()
  }
}

/** Only the damaged block comes over the wire. */
async function assertMoved({ relay }, heal) {
  const before = relay.passedBytes
  await heal()
  const moved = relay.passedBytes - before
  assert.ok(moved >= blockBytes && moved < blockBytes + talkBytes, `${moved} bytes`)
}

export async function synced(scene, openPeer) {
  await withPeer(scene, openPeer, async ({ url, image }) => {
    await assertMoved(image, async () => await scene.repairs(url, image, 'digests'))
  })
}

export async function spoilt(scene, openPeer) {
  await withPeer(scene, openPeer, async ({ peer, theirs, url, image, content }) => {
    await peer.scene.place.damage(bytesKey(theirs), at)
    const { what } = await scene.repairs(url, image, 'digests', 'failed')
    assert.match(what, /came otherwise than the block index of the source says, twice/)
    await scene.isRefused(url, image)
    assert.is((await remove(peer.url, 'base')).status, 204)
    await peer.upload('base', content, { version: theirs.version })
    await assertMoved(image, async () => await scene.repairs(url, image, 'corrupt'))
  })
}

export async function twice(scene) {
  const { url } = await scene.start()
  const { image, content } = await fetchAndRot(scene, url)
  const mark = `.marks/${image.name}-${image.uuid}/corrupt.json`
  await scene.repairs(url, image, 'digests')
  const first = await scene.place.read(mark)
  await scene.place.damage(first.healedBy, at)
  const { what } = await scene.repairs(url, image, 'digests')
  assert.match(what, `and so are those that serve in their place, ${first.healedBy}`)
  const second = await scene.place.read(mark)
  assert.is.not(second.healedBy, first.healedBy)
  assert.not.ok((await scene.keys()).includes(first.healedBy))
  await scene.isServed(url, image, content)
  await scene.isSound(url)
}

/** A scrub that is healing, and has half of what it needs. */
async function beginHealing(scene, url) {
  const { image, content } = await fetchAndRot(scene, url)
  const { page } = image
  const before = page.sentBytes
  page.slowFrom = size / 2
  const begun = await scene.begin(url, { repair: true })
  await until('half of it has come again', () => page.sentBytes > before + size / 2, 60_000)
  return { image, content, begun }
}

export async function deleted(scene) {
  const { url } = await scene.start()
  const { image, begun } = await beginHealing(scene, url)
  const { status } = await request(`${url}/v1/scrub`, { method: 'POST' })
  assert.is(status, 409, 'another scrub meanwhile')
  await scene.delete(url, image)
  image.page.slowFrom = Infinity
  const { state, message } = await scene.ended(url, begun)
  assert.is(state, 'done', message)
  await scene.isGone(url, image)
  await scene.isEmpty()
}

/** The scrub that was broken off says why, and the next one does what it did not. */
async function healAfter(scene, url, { image, content, begun }, why, serversMost = 1) {
  image.page.slowFrom = Infinity
  const broken = await scene.ended(url, begun)
  assert.is(broken.state, 'failed')
  assert.match(broken.message, why)
  assert.is((await getJson(url + image.path)).state, 'failed')
  const report = await scene.scrub(url, { repair: true })
  assert.is(findingsOf(report, { step: 'corrupt', key: bytesKey(image) }).length, 1)
  // On a disk also what the dead one had not finished, if nobody has taken it away by now.
  const faults = findingsOf(report, { level: 'fault' })
  assert.equal(faults, findingsOf(report, { level: 'fault', repair: 'done' }))
  assert.ok(faults.every(({ step }) => ['corrupt', 'unfinished'].includes(step)))
  await scene.isServed(url, image, content)
  await scene.isSound(url, serversMost)
}

const hasDied = 'The server that ran it has stopped.'

export async function killed(scene) {
  const server = await scene.start()
  const healing = await beginHealing(scene, server.url)
  await server.kill()
  const { url } = await scene.start()
  await healAfter(scene, url, healing, hasDied)
}

export async function stopped(scene) {
  const server = await scene.start()
  const healing = await beginHealing(scene, server.url)
  assert.is(await server.stop(), 0)
  // Nobody has to wait: it has taken everything away.
  await scene.isTidyNow()
  const { url } = await scene.start()
  await healAfter(scene, url, healing, 'The server stopped before the scrub was done.')
}

export async function replaced(scene) {
  const [server, other] = [await scene.start(), await scene.start()]
  const healing = await beginHealing(scene, server.url)
  await server.kill()
  // On a disk the dead one's socket stays until a server starts.
  await healAfter(scene, other.url, healing, hasDied, 2)
}
