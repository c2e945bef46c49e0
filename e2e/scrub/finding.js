// Acts of a scrub: what it tells of bytes that were changed behind the server's back, of bytes that
// nobody names, and what becomes of images that nothing replaces.

import * as assert from 'uvu/assert'
import { getJson, listPath, sha512Of } from '../durability/client.js'
import { foreignFolder } from '../durability/place.js'
import { until } from '../machine.js'
import { seededContent } from '../servers/web.js'
import { at, bufferOf, bytesKey, findingsOf, mebibyte, size } from './scene.js'

/** Two images of the same bytes, which are not what they were, and a sound one. */
async function rot(scene, url) {
  const contents = ['sound', 'rotten'].map((kind) => seededContent(`scrub ${kind}`, size))
  const [sound, rotten] = contents
  const images = {
    sound: await scene.upload(url, 'sound', sound),
    rotten: await scene.upload(url, 'rotten', rotten),
    twin: await scene.upload(url, 'twin', rotten),
  }
  await scene.isServed(url, images.rotten, rotten)
  await scene.isServed(url, images.twin, rotten)
  const key = bytesKey(images.rotten)
  await scene.place.damage(key, at)
  const damage = {
    key,
    expected: `sha512:${sha512Of(bufferOf(rotten))}`,
    actual: `sha512:${sha512Of(bufferOf(rotten, at))}`,
  }
  return { ...images, damage, contents: { sound, rotten } }
}

export async function told(scene) {
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

export async function marked(scene) {
  const [server, other] = [await scene.start(), await scene.start()]
  const { sound, rotten, twin, contents } = await rot(scene, server.url)
  await scene.repairs(server.url, rotten, 'digests', 'failed')
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
  await scene.repairs(url, rotten, 'corrupt')
  for (const image of [rotten, twin, again]) await scene.isServed(url, image, contents.rotten)
  await scene.isSound(url)
}

export async function orphaned(scene) {
  const { place } = scene
  const { url } = await scene.start()
  const content = seededContent('scrub kept', mebibyte)
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
  assertTold(await scene.scrub(url, { repair: true }), 'done')
  const after = await scene.keys()
  assert.not.ok(
    after.some((key) => key.startsWith('orphan-')),
    `${after}`,
  )
  assert.equal(await place.foreignFaults(), [])
  await scene.isServed(url, kept, content)
  await scene.isTidy()
}
