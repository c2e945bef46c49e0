// Many images at once: Longhorn gets to know all of them, and is not asked more often for it.

import * as assert from 'uvu/assert'
import { bodyOf } from './cases.js'

const imagesCount = 500
const uploadsAtOnce = 8
/** Ten are made in a second; the wire may have held one back, and another one begins the next second. */
const madeMost = 12
/** A list now and then, besides. */
const askedMost = madeMost + 4

export const many = {
  'five hundred images are registered, each once, and Longhorn has its peace': async (scene) => {
    const { longhorn } = scene
    // Each push would have all of them; Longhorn's own come once in a while.
    longhorn.isPushing = false
    const server = await scene.serve()
    const names = Array.from({ length: imagesCount }, (_, index) => `image-${index}`)
    const waiting = names.values()
    const lane = async () => {
      for (const name of waiting) await scene.upload(server, name, bodyOf(name, 512))
    }
    await Promise.all(Array.from({ length: uploadsAtOnce }, lane))
    await scene.until('all are fetched', () => longhorn.downloads.length >= imagesCount)
    assert.equal(new Set(longhorn.images.keys()), new Set(names))
    assert.equal(
      longhorn.downloads.filter(({ failure }) => failure !== undefined),
      [],
    )
    assert.is(longhorn.count('POST', /backingimages$/), imagesCount)
    const made = peakOf(longhorn.requests.filter(({ method }) => method === 'POST'))
    const asked = peakOf(longhorn.requests)
    console.log(`  at most ${made} made in a second, ${asked} requests in all`)
    assert.ok(made <= madeMost, `${made} in a second`)
    assert.ok(asked <= askedMost, `${asked} in a second`)
  },
}

/** The most of them within a second. */
function peakOf(requests) {
  const times = requests.map(({ atMs }) => atMs)
  const counts = times.map(
    (from) => times.filter((each) => each >= from && each < from + 1000).length,
  )
  return Math.max(0, ...counts)
}
