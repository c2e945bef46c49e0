// The test of scrubs: bytes of a real store are changed behind the server's back, and it is seen what is
// told, what is served, and how the bytes come back.

import { suite } from 'uvu'
import { Web } from '../servers/web.js'
import { marked, orphaned, told } from './finding.js'
import { deleted, fetched, killed, replaced, spoilt, stopped, synced, twice } from './healing.js'
import { ScrubScene } from './scene.js'

const all = {
  told: ['a dry run and the command tell what is damaged, and change nothing', told],
  marked: ['what nothing replaces is given to nobody, until somebody brings it again', marked],
  orphaned: ['bytes without a record go, and what is somebody else’s is not touched', orphaned],
  fetched: ['what came from a URL comes from there again', fetched],
  synced: ['what came from another manager comes again: the damaged block', synced],
  spoilt: ['what is damaged at the other manager, too, comes when that has it again', spoilt],
  twice: ['what replaced damaged bytes is replaced when it is damaged', twice],
  deleted: ['an image that is deleted while it is healed leaves nothing', deleted],
  killed: ['a scrub that is killed while it heals is followed by one that heals', killed],
  stopped: [
    'a scrub that is stopped while it heals leaves nothing, and is followed by one',
    stopped,
  ],
  replaced: ['when the server dies that heals, another one of its store does it', replaced],
}

/**
 * Runs acts on stores that `open` prepares: it resolves to what makes a fresh place by its name.
 * `openPeer` makes one for another manager, also by a name. `close` comes last; `acts` are those to be played.
 */
export function testScrubs(title, { acts = Object.keys(all), open, openPeer, close }) {
  const test = suite(title)
  const outcomes = {}
  let web

  /** What one act needs. Acts mostly wait, and so all go on at once. */
  async function stage(name, makePlace, act) {
    const scene = new ScrubScene(name, await makePlace(name), web)
    try {
      await act(scene, openPeer)
    } catch (error) {
      throw new Error(`${error.message}\n${scene.log}`, { cause: error })
    } finally {
      await scene.end()
    }
  }

  const begun = beginAll()
  begun.catch(() => {})

  async function beginAll() {
    web = await Web.start()
    const makePlace = await open()
    for (const name of acts) {
      const [, act] = all[name]
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

  for (const name of acts) test(all[name][0], async () => await outcomes[name])

  test.run()
}
