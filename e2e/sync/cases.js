// The test of syncs that are interrupted, between stores of any kind: either manager is killed or stopped
// in the middle of them, or has to do without the image. What crossed the wire is counted.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { getJson, remove, request } from '../durability/client.js'
import { until } from '../machine.js'
import { blockBytes, isoContent } from './content.js'
import { Sender, SyncScene } from './scene.js'

const mebibyte = 1024 * 1024
/** So much may cross the wire more than once. */
const ratioMost = 1.6
/** Heads of requests and answers, and the block index. */
const talkBytes = mebibyte
const smallBlocks = 10
const smallSlowFrom = 16 * mebibyte
const labels = [
  ['label', 'os=debian'],
  ['label', 'tier=base'],
]

/**
 * Runs all acts between stores that `open` prepares: it resolves to what makes a fresh one by its name,
 * `from` for managers that have images and `to` for those that sync, as one place for each of two servers. `close`
 * comes last. `sizes`: the `blocks` of the image, of which `zeros` are empty and `changed` others in the
 * next version; little comes after `slowFrom` MiB, and at least `durable` are durable by then.
 */
export function testSyncs(title, { sizes, open, close }) {
  const test = suite(title)
  const { blocks, zeros, changed } = sizes
  const [slowFrom, durable] = [sizes.slowFrom, sizes.durable].map((each) => each * mebibyte)
  const first = isoContent(title, { blocks, zeros })
  const next = isoContent(title, { blocks, zeros, changed })
  const small = isoContent(`${title} small`, { blocks: smallBlocks })
  const outcomes = {}
  let stores
  let sender

  /** What one act needs. Acts mostly wait, and so all go on at once. */
  async function stage(name, act) {
    const [place, other] = await stores.to(name)
    const scene = new SyncScene(name, place)
    try {
      return await act(scene, other)
    } catch (error) {
      throw new Error(`${error.message}\n${scene.log}\n${sender.scene.log}`, { cause: error })
    } finally {
      await scene.end()
    }
  }

  /** A sync of which so much is durable that going on shows. */
  async function begin(scene, url, pace = { slowFrom }) {
    const copy = await scene.sync(url, 'base', sender, pace)
    await scene.isDurable(copy, durable)
    return copy
  }

  /** The one that had begun it is no more: what came before, and what had been written down. */
  async function note(scene, { name, uuid, relay }) {
    const beat = await scene.place.read(`.jobs/${name}-${uuid}/1.beat.json`)
    relay.slowFrom = Infinity
    return { beat, beforeBytes: relay.passedBytes, durableBytes: beat.durableSize }
  }

  /** One server goes, in the way that is told, and another one comes. */
  const succeed = (how) => async (scene) => {
    const server = await scene.start()
    const copy = await begin(scene, server.url)
    const exitCode = await server[how]()
    const then = await note(scene, copy)
    const { url } = await scene.start()
    await scene.arrivesAs(url, copy, first, await sender.image('base'))
    await scene.isTidy()
    return { ...copy, ...then, exitCode }
  }

  /** Two servers, of which that which syncs goes. */
  async function replace(scene, other) {
    const [server, heir] = [await scene.start(), await scene.start(other)]
    const copy = await begin(scene, server.url)
    await server.kill()
    const then = await note(scene, copy)
    await scene.arrivesAs(heir.url, copy, first, await sender.image('base'))
    await scene.isTidy()
    return { ...copy, ...then }
  }

  function judge({ relay, beforeBytes, durableBytes }) {
    const afterBytes = relay.passedBytes - beforeBytes
    const ratio = relay.passedBytes / first.dataBytes
    console.log(`  ${title}: ${beforeBytes} + ${afterBytes} bytes, ${ratio.toFixed(2)} of the data`)
    assert.ok(beforeBytes < first.dataBytes, `${beforeBytes} came before`)
    assert.ok(durableBytes >= durable, `${durableBytes} were durable`)
    const lackingBytes = first.dataFrom(durableBytes)
    assert.ok(afterBytes < lackingBytes + talkBytes, `${lackingBytes} were lacking`)
    assert.ok(ratio < ratioMost, `${ratio} of its data`)
  }

  async function restart(scene) {
    const own = await Sender.start(`${title} restarted`, await stores.from('restarted'))
    try {
      await own.upload('small', small, labels)
      const { url } = await scene.start()
      const copy = await scene.sync(url, 'small', own, { slowFrom: smallSlowFrom })
      await scene.hasCome(url, copy, blockBytes)
      const beforeBytes = copy.relay.passedBytes
      await own.kill()
      // What it had sent still comes.
      copy.relay.slowFrom = Infinity
      await until('the sender is asked in vain', () => copy.relay.refused > 0, 90_000)
      await own.startNow()
      await scene.arrivesAs(url, copy, small, await own.image('small'))
      await scene.isTidy()
      return { ...copy, beforeBytes }
    } finally {
      await own.end()
    }
  }

  /** A version of which few blocks are others, over a store that has the one before. */
  async function change(scene) {
    const server = await scene.start()
    const own = await Sender.start(`${title} changed`, await stores.from('changed'))
    try {
      await own.upload('base', first, labels)
      const before = await scene.sync(server.url, 'base', own)
      await scene.arrivesAs(server.url, before, first, await own.image('base'))
      await own.upload('base', next, labels)
      const copy = await scene.sync(server.url, 'base', own, { slowFrom: blockBytes / 2 })
      await scene.isDurable(copy, durable)
      await server.kill()
      const then = await note(scene, copy)
      const { url } = await scene.start()
      await scene.arrivesAs(url, copy, next, await own.image('base'))
      await scene.isTidy()
      return { ...copy, ...then, wholeBytes: before.relay.passedBytes }
    } finally {
      await own.end()
    }
  }

  async function deleteOnTheWay(scene) {
    const { url } = await scene.start()
    const copy = await scene.sync(url, 'base', sender, { slowFrom: smallSlowFrom })
    await scene.hasCome(url, copy, blockBytes)
    await scene.delete(url, copy)
    await scene.isGone(url, copy)
    await until('the connections are closed', () => copy.relay.active === 0)
    await scene.isTidy()
    return copy
  }

  /** Resolves to the image that has failed, when nothing of it is left. */
  async function fails(scene, url, copy) {
    const isOver = async () => {
      const image = await getJson(`${url}${copy.path}&wait=10`)
      return ['ready', 'failed'].includes(image.state) && image
    }
    const image = await until('it is ready or failed', isOver, 90_000)
    const { status } = await request(`${url}/v1/backing-images/${copy.name}/download`)
    assert.equal([image.state, status], ['failed', 404])
    await scene.isTidy()
    await scene.delete(url, copy)
    await scene.isGone(url, copy)
    await scene.isTidy()
    const keys = await scene.place.keys()
    assert.equal(
      keys.filter((key) => key.includes(copy.name) && !key.startsWith('.marks')),
      [],
    )
    return image
  }

  async function deleteAtTheSender(scene) {
    await sender.upload('doomed', small)
    const { url } = await scene.start()
    const copy = await scene.sync(url, 'doomed', sender, { slowFrom: smallSlowFrom })
    await scene.hasCome(url, copy, blockBytes)
    assert.is((await remove(sender.url, 'doomed')).status, 204)
    copy.relay.slowFrom = Infinity
    return await fails(scene, url, copy)
  }

  /** One byte over there is not what was stored, which nobody knows yet. */
  async function spoil(scene) {
    const content = isoContent(`${title} spoilt`, { blocks: 4 })
    const { name, uuid } = await sender.upload('spoilt', content)
    await sender.scene.place.damage(`${name}-${uuid}/backing`, 2 * blockBytes + 5)
    const { url } = await scene.start()
    const copy = await scene.sync(url, 'spoilt', sender)
    return { ...(await fails(scene, url, copy)), passedBytes: copy.relay.passedBytes }
  }

  const all = {
    killed: {
      title: 'the one that syncs is killed: the next one goes on, with what was durable',
      act: succeed('kill'),
      judge,
    },
    stopped: {
      title: 'the one that syncs is stopped: the next one goes on at once',
      act: succeed('stop'),
      judge(stopped) {
        judge(stopped)
        assert.is(stopped.exitCode, 0)
        // Nobody has to wait for the end of a lease that was given up.
        assert.is(stopped.beat.released, true)
      },
    },
    replaced: {
      title: 'the one that syncs is killed: another one of its store takes over',
      act: replace,
      judge,
    },
    restarted: {
      title: 'the one that has the image is killed, and comes back',
      act: restart,
      judge({ relay, beforeBytes }) {
        assert.ok(beforeBytes < small.dataBytes, `${beforeBytes} came before`)
        const { passedBytes } = relay
        assert.ok(passedBytes < small.dataBytes + blockBytes, `${passedBytes} bytes`)
      },
    },
    changed: {
      title: 'a new version moves what has changed, also when the one that syncs is killed',
      act: change,
      judge({ relay, wholeBytes, beforeBytes }) {
        const { passedBytes } = relay
        console.log(
          `  ${title}: ${passedBytes} of ${wholeBytes} bytes for ${changed.length} blocks`,
        )
        assert.ok(wholeBytes >= first.dataBytes && wholeBytes < first.dataBytes + talkBytes)
        // None of these blocks had come as a whole before.
        const changedBytes = changed.length * blockBytes
        assert.ok(beforeBytes < changedBytes, `${beforeBytes} came before`)
        assert.ok(passedBytes >= changedBytes, `${passedBytes} bytes`)
        assert.ok(passedBytes < changedBytes + beforeBytes + talkBytes, `${passedBytes} bytes`)
      },
    },
    deleted: {
      title: 'what is deleted on its way leaves nothing',
      act: deleteOnTheWay,
      judge: ({ relay }) => assert.ok(relay.passedBytes < first.dataBytes),
    },
    lost: {
      title: 'what is deleted over there has failed, and says why',
      act: deleteAtTheSender,
      judge: ({ message }) => assert.match(message, /it has no doomed that is ready/),
    },
    spoilt: {
      title: 'what is not what was stored over there has failed, and says where',
      act: spoil,
      judge({ message, passedBytes }) {
        assert.match(message, /^Bytes 8388608 to 12582911 came otherwise than the block index of/)
        // The wire may have been at fault: it is asked once more, and no more than that.
        assert.ok(passedBytes < 5 * blockBytes + talkBytes, `${passedBytes} bytes`)
      },
    },
  }

  const begun = beginAll()
  begun.catch(() => {})

  async function beginAll() {
    stores = await open()
    sender = await Sender.start(title, await stores.from('shared'))
    await sender.upload('base', first, labels)
    for (const [name, { act }] of Object.entries(all)) {
      outcomes[name] = stage(name, act)
      outcomes[name].catch(() => {})
    }
  }

  test.before(() => begun)

  test.after(async () => {
    await Promise.allSettled(Object.values(outcomes))
    try {
      await sender?.end()
    } finally {
      await close?.()
    }
  })

  for (const [name, each] of Object.entries(all)) {
    test(each.title, async () => each.judge(await outcomes[name]))
  }

  test.run()
}
