// The test of pulls that are interrupted, wherever images are kept: the server is killed or stopped in
// the middle of them, and whoever comes next goes on from the bytes that were durable.

import { gzipSync } from 'node:zlib'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { randomBody } from '../durability/bodies.js'
import { until } from '../machine.js'
import { Web, bufferContent, seededContent } from '../servers/web.js'
import { Scene } from './scene.js'

const mebibyte = 1024 * 1024
const everyAct = ['killed', 'stopped', 'replaced', 'deleted']
/** So much may be sent more than once. */
const ratioMost = 1.6

/**
 * Runs all tests on stores that `open` prepares: it resolves to what makes a fresh one by its name, as
 * one place for each of two servers. `close` comes last. `sizes`, in MiB: `size` of an image, of which
 * little comes after `slowFrom`, and at least `durable` is durable by then; `small` of the others. `acts` are those to
 * be played.
 */
export function testPulls(title, { sizes, acts = everyAct, open, close }) {
  const test = suite(title)
  const [size, slowFrom, durable] = [sizes.size, sizes.slowFrom, sizes.durable].map(
    (each) => each * mebibyte,
  )
  const smallSize = (sizes.small ?? 24) * mebibyte
  const smallSlowFrom = Math.floor((smallSize * 2) / 3)
  const cutEveryBytes = Math.floor(smallSize / 3.5)
  const outcomes = {}
  let web

  /** What one act needs. Acts mostly wait, and so those of all stores go on at once, from now on. */
  async function stage(name, makePlaces, act) {
    const [place, other] = await makePlaces(name)
    const scene = new Scene(name, place, web)
    try {
      return await act(scene, other)
    } catch (error) {
      throw new Error(`${error.message}\n${scene.log}`, { cause: error })
    } finally {
      await scene.end()
    }
  }

  /** Images on their way, of which most has come. */
  async function begin(scene, url) {
    const pace = { slowFrom: smallSlowFrom }
    const small = (kind) => seededContent(`${scene.name} ${kind}`, smallSize)
    const unpacked = randomBody(`${scene.name} packed`, smallSize)
    const packed = bufferContent(gzipSync(unpacked, { level: 1 }))
    const pulls = {
      plain: await scene.pull(url, 'plain', seededContent(scene.name, size), { slowFrom }),
      cut: await scene.pull(url, 'cut', small('cut'), { ...pace, cutEveryBytes }),
      packed: await scene.pull(url, 'packed', packed, pace),
      changed: await scene.pull(url, 'changed', small('before'), pace),
      doomed: await scene.pull(url, 'doomed', small('doomed'), pace),
    }
    for (const each of [pulls.cut, pulls.packed, pulls.changed, pulls.doomed]) {
      await scene.hasCome(url, each, smallSlowFrom / 2)
    }
    await scene.isDurable(pulls.plain, durable)
    return {
      ...pulls,
      unpacked: bufferContent(unpacked),
      durableBytes: await scene.durableBytes(pulls.plain),
    }
  }

  /** From now on everything comes fast, and one content is another. */
  function goOn(scene, pulls) {
    for (const { page } of [pulls.plain, pulls.cut, pulls.packed, pulls.changed, pulls.doomed]) {
      page.slowFrom = Infinity
    }
    pulls.changed.page.content = seededContent(`${scene.name} after`, smallSize)
  }

  async function arrive(scene, url, pulls) {
    const { plain, cut, packed, changed, doomed } = pulls
    await scene.arrives(url, plain, plain.page.content)
    await scene.arrives(url, cut, cut.page.content)
    await scene.arrives(url, packed, pulls.unpacked)
    await scene.arrives(url, changed, changed.page.content)
    await scene.isGone(url, doomed)
    await scene.isTidy()
  }

  /** One server goes, in the way that is told, and another one comes. */
  const succeed = (how) => async (scene) => {
    const first = await scene.start()
    const pulls = await begin(scene, first.url)
    const exitCode = await first[how]()
    const beat = await scene.place.read(`.jobs/${pulls.plain.name}-${pulls.plain.uuid}/1.beat.json`)
    goOn(scene, pulls)
    const { url } = await scene.start()
    await scene.delete(url, pulls.doomed)
    await arrive(scene, url, pulls)
    return { ...pulls, exitCode, beat }
  }

  /** Two servers, of which that which fetches goes. */
  async function replace(scene, other) {
    const [first, second] = [await scene.start(), await scene.start(other)]
    const pulls = await begin(scene, first.url)
    await first.kill()
    goOn(scene, pulls)
    await scene.delete(second.url, pulls.doomed)
    await arrive(scene, second.url, pulls)
    return pulls
  }

  async function deleteOnTheWay(scene) {
    const { url } = await scene.start()
    const content = seededContent(scene.name, smallSize)
    const image = await scene.pull(url, 'deleted', content, { slowFrom: smallSlowFrom })
    await scene.hasCome(url, image, smallSlowFrom / 2)
    await scene.delete(url, image)
    await scene.isGone(url, image)
    await until('the connection is closed', () => image.page.active === 0)
    await scene.isTidy()
    return image
  }

  function judge({ plain, cut, packed, changed, durableBytes }) {
    const { starts, sentBytes } = plain.page
    const ratio = sentBytes / size
    console.log(`  ${plain.name}: ${starts.join(', ')}; sent ${ratio.toFixed(2)} of its size`)
    assert.is(starts.length, 2, 'how often it was asked for')
    assert.ok(starts[1] >= durableBytes, `${durableBytes} were durable`)
    assert.ok(ratio < ratioMost, `${ratio} of its size`)
    // As often as it was cut, and once for the kill.
    const cuts = cut.page.requests.length
    assert.ok(cuts >= Math.ceil(smallSize / cutEveryBytes), `${cuts} requests`)
    assert.equal(packed.page.starts, [0, 0])
    // It was asked for the rest of the old content.
    assert.ok(changed.page.requests.every(({ start }) => start === 0))
    assert.ok(changed.page.requests.length > 1)
  }

  const all = {
    killed: {
      title: 'a server is killed: the next one goes on, with the bytes that were durable',
      act: succeed('kill'),
      judge,
    },
    stopped: {
      title: 'a server is stopped: the next one goes on at once',
      act: succeed('stop'),
      judge(stopped) {
        judge(stopped)
        assert.is(stopped.exitCode, 0)
        // Nobody has to wait for the end of a lease that was given up.
        assert.is(stopped.beat.released, true)
      },
    },
    replaced: {
      title: 'the server that fetches is killed: another one takes over',
      act: replace,
      judge,
    },
    deleted: {
      title: 'what is deleted on its way leaves nothing',
      act: deleteOnTheWay,
      judge: ({ page }) => assert.equal(page.starts, [0]),
    },
  }

  const begun = beginAll()
  begun.catch(() => {})

  async function beginAll() {
    web = await Web.start()
    const makePlaces = await open()
    for (const name of acts) {
      outcomes[name] = stage(name, makePlaces, all[name].act)
      outcomes[name].catch(() => {})
    }
  }

  test.before(() => begun)

  test.after(async () => {
    await Promise.allSettled(Object.values(outcomes))
    await close?.()
    await web.stop()
  })

  for (const name of acts) {
    test(all[name].title, async () => all[name].judge(await outcomes[name]))
  }

  test.run()
}
