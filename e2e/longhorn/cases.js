// What becomes of images in Longhorn, from the upload on: the acts, each with a store, servers and a
// stand-in for Longhorn of its own. All of them go on at once, for they mostly wait.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { download, remove, request, sha512Of } from '../durability/client.js'
import { faultsOf, imageNamedIn, judgedKinds } from './manifests.js'
import { LonghornScene } from './scene.js'

const sectorBytes = 512
const mebibyte = 1024 * 1024

/** Runs acts, claim to function, each in a place that `open` makes for its number. */
export function testLonghorn(title, open, acts) {
  const test = suite(title)
  for (const [index, [claim, act]] of Object.entries(acts).entries()) {
    const outcome = stage(() => open(index), act)
    outcome.catch(() => {})
    test(claim, () => outcome)
  }
  test.run()
}

async function stage(open, act) {
  const scene = await LonghornScene.start(await open())
  try {
    await act(scene)
  } catch (error) {
    error.message = `${error.message}\n${scene.log}`
    throw error
  } finally {
    await scene.end()
  }
}

/** Another one for each label and size. */
export function bodyOf(label, size = mebibyte) {
  return Buffer.alloc(size, `${label} `)
}

/** As Longhorn gets it. */
function aligned(body) {
  const rest = body.length % sectorBytes
  return rest === 0 ? body : Buffer.concat([body, Buffer.alloc(sectorBytes - rest)])
}

async function isStored(server, name, body) {
  const { sha512 } = await download(server.url, name, '1')
  assert.is(sha512, sha512Of(body))
}

/** Fails unless what Longhorn fetches by and by is just this. */
async function hasFetched(scene, { name }, body) {
  const { longhorn } = scene
  await scene.until(`${name} is fetched`, () => Boolean(longhorn.images.get(name)?.currentChecksum))
  const { currentChecksum, expectedChecksum, parameters } = longhorn.images.get(name)
  assert.equal([currentChecksum, expectedChecksum], Array(2).fill(sha512Of(aligned(body))), name)
  assert.match(parameters.url, /^http:\/\/images\.test:/)
}

export const essentials = {
  'an upload is registered, fetched, ready, and what its manifests name': async (scene) => {
    const server = await scene.serve()
    const bodies = {
      even: bodyOf('even', 3 * mebibyte),
      odd: bodyOf('odd', 3 * mebibyte + 3),
      under_score: bodyOf('under', mebibyte),
    }
    for (const [name, body] of Object.entries(bodies)) await scene.upload(server, name, body)
    for (const [name, body] of Object.entries(bodies)) {
      const told = await scene.becomes(server, name)
      await hasFetched(scene, told, body)
      for (const kind of judgedKinds) {
        const manifest = await scene.manifest(server, name, kind)
        assert.equal(faultsOf(manifest), [])
        const named = imageNamedIn(manifest)
        assert.ok(kind === 'VolumeSnapshotClass' || named === told.name, `${kind} names ${named}`)
      }
    }
    const next = bodyOf('next', 2 * mebibyte)
    await scene.upload(server, 'even', next)
    const told = await scene.becomes(server, 'even')
    assert.is(told.name, 'even-2')
    await hasFetched(scene, told, next)
    // Nothing was fetched in vain, or twice.
    assert.equal(
      scene.longhorn.downloads.map(({ failure }) => failure),
      Array(4).fill(undefined),
    )
  },

  'of two servers of a store one registers, each image once, and the other takes over': async (
    scene,
  ) => {
    const servers = [await scene.serve(), await scene.serve()]
    const names = Array.from({ length: 20 }, (_, index) => `image-${index}`)
    await Promise.all(
      names.map((name, index) => scene.upload(servers[index % 2], name, bodyOf(name, 4096))),
    )
    for (const name of names) await scene.becomes(servers[0], name)
    assert.is(scene.longhorn.count('POST', /backingimages$/), names.length)
    const reports = await Promise.all(servers.map((server) => scene.report(server)))
    const leading = reports.findIndex(({ isLeading }) => isLeading)
    assert.is(reports.filter(({ isLeading }) => isLeading).length, 1)
    // Where nobody can tell that it is dead its term has to run out, which takes too long here.
    await scene[scene.provesDeath ? 'kill' : 'stop'](servers[leading])
    const heir = servers[1 - leading]
    await scene.upload(heir, 'later', bodyOf('later', 4096))
    await scene.becomes(heir, 'later')
    assert.is(scene.longhorn.count('POST', /backingimages$/), names.length + 1)
    assert.is(scene.longhorn.images.size, names.length + 1)
  },
}

const faults = {
  breaks: { isBroken: true },
  'answers-html': { status: 200, type: 'text/html', body: '<html>Longhorn</html>' },
  'is-slow': { delayMs: 8000 },
}

export const troubles = {
  'what a volume uses is not deleted, and later it is, in both; force leaves what Longhorn has':
    async (scene) => {
      const { longhorn } = scene
      const server = await scene.serve()
      for (const name of ['used', 'forced']) {
        await scene.upload(server, name, bodyOf(name))
        await scene.becomes(server, name)
        longhorn.inUse.add(name)
      }
      const refused = await remove(server.url, 'used')
      const { code, detail } = JSON.parse(refused.body)
      assert.equal([refused.status, code], [409, 'in_use'])
      assert.match(detail, /is still used by replicas/)
      await isStored(server, 'used', bodyOf('used'))
      assert.is((await scene.becomes(server, 'used')).name, 'used')
      longhorn.inUse.delete('used')
      assert.is((await remove(server.url, 'used')).status, 204)
      const forced = `${server.url}/v1/backing-images/forced?force=true`
      assert.is((await request(forced, { method: 'DELETE' })).status, 204)
      assert.equal([...longhorn.images.keys()], ['forced'])
      for (const name of ['used', 'forced']) {
        assert.is((await request(`${server.url}/v1/backing-images/${name}`)).status, 404)
      }
    },

  'a Longhorn that is away, and then knows nothing any more, has all images again': async (
    scene,
  ) => {
    const server = await scene.serve()
    await scene.upload(server, 'before', bodyOf('before'))
    await scene.becomes(server, 'before')
    await scene.takeLonghornAway()
    await scene.upload(server, 'meanwhile', bodyOf('meanwhile'))
    await isStored(server, 'before', bodyOf('before'))
    const report = await scene.until('the server has noticed', async () => {
      const found = await scene.report(server)
      return found.status === 'unavailable' && found
    })
    assert.match(report.message, /LONGHORN_API_URL/)
    const refused = await remove(server.url, 'before')
    assert.is(refused.status, 503)
    assert.match(JSON.parse(refused.body).detail, /\?force=true/)
    await scene.bringLonghornBack()
    for (const name of ['before', 'meanwhile']) {
      await hasFetched(scene, await scene.becomes(server, name), bodyOf(name))
    }
    assert.is(scene.longhorn.count('POST', /backingimages$/), 2)
    assert.is((await remove(server.url, 'before')).status, 204)
  },

  'a Longhorn that breaks connections, answers a page or is slow stops nothing': async (scene) => {
    const { longhorn } = scene
    const server = await scene.serve()
    for (const [name, fault] of Object.entries(faults)) {
      longhorn.fault = () => fault
      const asked = longhorn.requests.length
      await scene.upload(server, name, bodyOf(name))
      await isStored(server, name, bodyOf(name))
      await scene.until('Longhorn is asked', () => longhorn.requests.length > asked)
      await isStored(server, name, bodyOf(name))
      // Fails unless the server is ready.
      await scene.report(server)
      longhorn.fault = () => undefined
      await hasFetched(scene, await scene.becomes(server, name), bodyOf(name))
    }
    assert.is(longhorn.images.size, Object.keys(faults).length)
  },

  'what Longhorn has comes here by one command, and copies go by another': async (scene) => {
    const { longhorn } = scene
    const bytes = bodyOf('theirs', 2 * mebibyte)
    longhorn.volumes.set('disk', bytes)
    const body = {
      name: 'theirs',
      sourceType: 'export-from-volume',
      parameters: { 'volume-name': 'disk', 'export-type': 'raw' },
    }
    await fetch(`${longhorn.url}/v1/backingimages`, { method: 'POST', body: JSON.stringify(body) })
    const server = await scene.serve()
    await scene.upload(server, 'ours', bodyOf('ours'))
    const { name } = await scene.becomes(server, 'ours')
    const brought = await scene.command(server, 'import', '--all')
    assert.equal(
      brought.data.map((each) => [each.name, each.result]),
      [['theirs', 'imported']],
    )
    await isStored(server, 'theirs', bytes)
    assert.is((await scene.becomes(server, 'theirs')).name, 'theirs')
    const again = await scene.command(server, 'import', '--all')
    assert.is(again.data[0].result, 'skipped')
    const [kept, ...others] = Object.keys(longhorn.images.get(name).disks)
    await scene.command(server, 'cleanup', 'ours', ...others.flatMap((each) => ['--disk', each]))
    assert.equal(Object.keys(longhorn.images.get(name).disks), [kept])
    assert.equal(new Set(longhorn.images.keys()), new Set(['ours', 'theirs']))
  },
}
