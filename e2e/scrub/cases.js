// The test of scrubs: bytes of a real store are changed behind the server's back, and it is seen what is
// told, what is served, and how the bytes come back.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { getJson, listPath, sha512Of } from '../durability/client.js'
import { foreignFolder } from '../durability/place.js'
import { until } from '../machine.js'
import { Web, seededContent } from '../servers/web.js'
import { blockBytes, isoContent } from '../sync/content.js'
import { Sender } from '../sync/scene.js'
import { ScrubScene, bufferOf, bytesKey, findingsOf } from './scene.js'

const mebibyte = 1024 * 1024
const size = 12 * mebibyte
/** In the second of three blocks. */
const at = 5 * mebibyte + 77
const talkBytes = mebibyte / 2
const repair = { repair: true }

/**
 * Runs all acts on stores that `open` prepares: it resolves to what makes a fresh place by its name.
 * `openPeer` makes one for another manager. `close` comes last; `acts` are those
 * to be played.
 */
export function testScrubs(title, { acts, open, openPeer, close }) {
  const test = suite(title)
  const outcomes = {}
  let web

  async function stage(name, makePlace, act) {
    const scene = new ScrubScene(name, await makePlace(name), web)
    try {
      await act(scene)
    } catch (error) {
      throw new Error(`${error.message}\n${scene.log}`, { cause: error })
    } finally {
      await scene.end()
    }
  }

  /** Two images of the same bytes, which are not what they were, and a sound one. */
  async function rot(scene, url) {
    const contents = ['sound', 'rotten'].map((kind) => seededContent(`${title} ${kind}`, size))
    const [sound, rotten] = contents
    const images = {
      sound: await scene.upload(url, 'sound', sound),
      rotten: await scene.upload(url, 'rotten', rotten),
      twin: await scene.upload(url, 'twin', rotten),
    }
    const key = bytesKey(images.rotten)
    await scene.place.damage(key, at)
    const damage = {
      key,
      expected: `sha512:${sha512Of(bufferOf(rotten))}`,
      actual: `sha512:${sha512Of(bufferOf(rotten, at))}`,
    }
    return { ...images, damage, contents: { sound, rotten } }
  }

  async function told(scene) {
    const { url } = await scene.start()
    const { sound, rotten, twin, damage, contents } = await rot(scene, url)
    const before = await scene.keys()
    const report = await scene.scrub(url)
    assert.equal([report.repair, report.faults, report.repaired], [false, 1, 0])
    const [fault] = findingsOf(report, { level: 'fault' })
    const { step, key, expected, actual } = fault
    assert.equal({ key, expected, actual }, damage)
    assert.equal([step, fault.repair], ['digests', 'possible'])
    assert.match(fault.what, /rotten 1, twin 1/)
    const text = await scene.command(url)
    assert.is(text.code, 1)
    assert.match(text.stdout, / dry run: nothing was changed\.\n/)
    assert.match(
      text.stdout,
      /^FAULT digests: .*rotten 1, twin 1.* \[a scrub with repair mends it\]$/m,
    )
    assert.match(text.stdout, `      expected: ${damage.expected}\n      found: ${damage.actual}\n`)
    assert.match(text.stdout, /\n1 fault, \d notes?, 0 repaired\.\n$/)
    assert.match(text.stderr, 'A fault was found in the store.')
    const json = await scene.command(url, '--step', 'digests', '-o', 'json')
    assert.is(json.code, 1)
    assert.equal(JSON.parse(json.stdout).findings, [fault])
    const other = JSON.parse(await scene.soundCommand(url, '--step', 'sizes', '-o', 'json'))
    assert.equal([other.state, other.faults], ['done', 0])
    // Nothing is marked: a look changes nothing.
    assert.equal(await scene.keys(), before)
    await scene.isServed(url, sound, contents.sound)
    for (const image of [rotten, twin]) {
      await scene.isServed(url, image, bufferOf(contents.rotten, at))
    }
  }

  async function marked(scene) {
    const [server, other] = [await scene.start(), await scene.start()]
    const { sound, rotten, twin, damage, contents } = await rot(scene, server.url)
    const repaired = async (url, step, how) => {
      const faults = findingsOf(await scene.scrub(url, repair), { level: 'fault' })
      assert.equal(
        faults.map((fault) => [fault.step, fault.key, fault.repair]),
        [[step, damage.key, how]],
      )
    }
    await repaired(server.url, 'digests', 'failed')
    const refuse = async (url) => {
      await scene.isRefused(url, rotten)
      await scene.isRefused(url, twin)
      await scene.isServed(url, sound, contents.sound)
      // A list is at most 5 s old.
      const look = async () => {
        const { data } = await getJson(`${url}${listPath}?state=failed`)
        return data.map(({ name }) => name).join() === 'rotten,twin'
      }
      await until('the list has both as failed', look)
    }
    await refuse(server.url)
    await refuse(other.url)
    await server.stop()
    const { url } = other
    // Whoever has it still brings it: it heals what was lost, and shares nothing with that.
    const again = await scene.upload(url, 'again', contents.rotten)
    await scene.isServed(url, again, contents.rotten)
    await scene.isRefused(url, rotten)
    await repaired(url, 'corrupt', 'done')
    for (const image of [rotten, twin, again]) await scene.isServed(url, image, contents.rotten)
    await isSound(scene, url)
  }

  /** What a scrub after the healing says. */
  async function isSound(scene, url) {
    const report = await scene.scrub(url)
    assert.equal(findingsOf(report, { level: 'fault' }), [])
    assert.is(findingsOf(report, { step: 'corrupt', level: 'note' }).length, 1)
    await scene.isTidy()
  }

  async function orphaned(scene) {
    const { place } = scene
    const { url } = await scene.start()
    const content = seededContent(`${title} kept`, mebibyte)
    const kept = await scene.upload(url, 'kept', content)
    await place.plantForeign()
    // As a remover leaves it that was killed between its mark and the bytes.
    const orphan = { name: 'orphan', uuid: '0a1b2c3d' }
    const mark = '.marks/orphan-0a1b2c3d/0123456789abcdef.json'
    await place.plant(bytesKey(orphan), 'some bytes')
    await place.plant(mark, JSON.stringify(orphan))
    // One that is young may be at it.
    const level = place.makeOld(mark) ? 'fault' : 'note'
    const before = await scene.keys()
    const assertTold = (report, how) => {
      const [found, ...others] = findingsOf(report, { step: 'orphans', name: 'orphan' })
      assert.equal([found.level, found.key, found.repair], [level, bytesKey(orphan), how])
      const foreign = findingsOf(report, { key: `${foreignFolder}/backing` })
      assert.equal(
        foreign.map((each) => [each.step, each.level, each.repair]),
        [['orphans', 'note', 'none']],
      )
      assert.is(others.length, 0)
    }
    assertTold(await scene.scrub(url), 'possible')
    assert.equal(await scene.keys(), before)
    assertTold(await scene.scrub(url, repair), 'done')
    const after = await scene.keys()
    assert.not.ok(
      after.some((key) => key.startsWith('orphan-')),
      `${after}`,
    )
    assert.equal(await place.foreignFaults(), [])
    await scene.isServed(url, kept, content)
    await scene.isTidy()
  }

  /** An image that came from a URL, and is not any more what came. */
  async function fetchAndRot(scene, url) {
    const content = seededContent(`${title} ${scene.name}`, size)
    const image = await scene.pull(url, 'web', content)
    await scene.arrives(url, image, content)
    await scene.place.damage(bytesKey(image), at)
    return { image, content }
  }

  async function fromTheWeb(scene) {
    const { url } = await scene.start()
    const { image, content } = await fetchAndRot(scene, url)
    const [fault] = findingsOf(await scene.scrub(url, repair), { level: 'fault' })
    assert.equal([fault.key, fault.repair], [bytesKey(image), 'done'])
    assert.is(image.page.requests.length, 2)
    await scene.isServed(url, image, content)
    await isSound(scene, url)
    // With its image goes all that was there in its place.
    await scene.delete(url, image)
    await scene.isTidy()
    const left = await scene.keys()
    assert.not.ok(
      left.some((key) => /^\.catalog\/.*json|corrupt|backing/.test(key)),
      `${left}`,
    )
  }

  async function fromAPeer(scene) {
    const peer = await Sender.start(`${title} peer`, await openPeer())
    try {
      const content = isoContent(`${title} peer`, { blocks: 5, zeros: [3] })
      const theirs = await peer.upload('base', content)
      const { url } = await scene.start()
      const image = await scene.sync(url, 'base', peer)
      await scene.arrivesAs(url, image, content, theirs)
      await scene.place.damage(bytesKey(image), at)
      const before = image.relay.passedBytes
      const [fault] = findingsOf(await scene.scrub(url, repair), { level: 'fault' })
      assert.equal([fault.key, fault.repair], [bytesKey(image), 'done'])
      const moved = image.relay.passedBytes - before
      console.log(`  ${title}: ${moved} bytes came for one block of ${content.size} bytes`)
      assert.ok(moved >= blockBytes && moved < blockBytes + talkBytes, `${moved} bytes`)
      await scene.isServed(url, image, content)
      await isSound(scene, url)
    } finally {
      await peer.end()
    }
  }

  async function killed(scene) {
    const server = await scene.start()
    const { image, content } = await fetchAndRot(scene, server.url)
    const { page } = image
    const sentBefore = page.sentBytes
    page.slowFrom = size / 2
    const begun = await scene.begin(server.url, repair)
    await until('half of it has come again', () => page.sentBytes > sentBefore + size / 2, 60_000)
    await server.kill()
    page.slowFrom = Infinity
    const { url } = await scene.start()
    const broken = await scene.ended(url, begun)
    assert.is(broken.state, 'failed')
    assert.match(broken.message, 'The server that ran it has stopped.')
    const failed = await getJson(url + image.path)
    assert.is(failed.state, 'failed')
    const [fault] = findingsOf(await scene.scrub(url, repair), { level: 'fault' })
    assert.equal([fault.step, fault.key, fault.repair], ['corrupt', bytesKey(image), 'done'])
    await scene.isServed(url, image, content)
    await isSound(scene, url)
  }

  const all = {
    told: ['a dry run and the command tell what is damaged, and change nothing', told],
    marked: ['what nothing replaces is given to nobody, until somebody brings it again', marked],
    orphaned: ['bytes without a record go, and what is somebody else’s is not touched', orphaned],
    web: ['what came from a URL comes from there again', fromTheWeb],
    peer: ['what came from another manager comes again: the damaged block', fromAPeer],
    killed: ['a scrub that is killed while it heals is followed by one that heals', killed],
  }

  const played = Object.entries(all).filter(([name]) => acts?.includes(name) ?? true)
  const begun = beginAll()
  begun.catch(() => {})

  async function beginAll() {
    web = await Web.start()
    const makePlace = await open()
    for (const [name, [, act]] of played) {
      outcomes[name] = stage(name, makePlace, act)
      outcomes[name].catch(() => {})
    }
  }

  test.before(() => begun)

  test.after(async () => {
    await Promise.allSettled(Object.values(outcomes))
    await close?.()
    await web.stop()
  })

  for (const [name, [what]] of played) test(what, async () => await outcomes[name])

  test.run()
}
