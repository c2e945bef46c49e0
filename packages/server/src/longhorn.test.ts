// Images that are made known to Longhorn, which fetches them: under names that stay, once, and nothing of
// anybody else's.

import { createHash } from 'node:crypto'
import { rawImage } from '@backing-image/core/testing'
import { readyImage } from '@backing-image/longhorn/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { becomes, clustered, knownOf } from './testing/longhorn.ts'
import { type Serving, ask, askJson, eventually, put } from './testing/serving.ts'

const registering = suite('longhorn')
const odd = Buffer.concat([rawImage(), Buffer.from('odd')])

/** Another one for each number. */
function numbered(count: number): Buffer {
  return rawImage(2 ** 20 + 512 * count)
}

function sha512Of(body: Buffer): string {
  return createHash('sha512').update(body).digest('hex')
}

registering(
  'an image that is uploaded is known to Longhorn, which fetches it with its checksum',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await put(server, 'debian?label=x=y', rawImage())
    const { name, disks } = await becomes(server, 'debian', 'ready')
    assert.is(name, 'debian')
    assert.is(disks['disk-1']?.state, 'ready')
    const made = longhorn.images.get('debian')
    assert.is(made?.sourceType, 'download')
    assert.is(made?.expectedChecksum, sha512Of(rawImage()))
    assert.is(made?.currentChecksum, sha512Of(rawImage()))
    assert.match(made?.parameters['url'] ?? '', /^http:\/\/images\.test:\d+\/files\/debian-/)
    assert.is(longhorn.count('POST', /backingimages$/), 1)
  }),
)

registering(
  'what is no multiple of a sector is fetched with zeros at its end',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await put(server, 'odd', odd)
    await becomes(server, 'odd', 'ready')
    const padded = Buffer.concat([odd, Buffer.alloc(512 - (odd.length % 512))])
    assert.is(longhorn.images.get('odd')?.currentChecksum, sha512Of(padded))
    assert.is(longhorn.images.get('odd')?.size, padded.length)
  }),
)

registering(
  'each newer version has a name of its own; a rollback goes by that of its bytes',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await put(server, 'debian', rawImage())
    await becomes(server, 'debian', 'ready')
    await put(server, 'debian', odd)
    assert.is((await becomes(server, 'debian', 'ready')).name, 'debian-2')
    assert.is((await becomes(server, 'debian?version=1', 'ready')).name, 'debian')
    const back = await askJson(server, 'POST', '/v1/backing-images/debian/rollback', {
      body: '{"version":"1"}',
    })
    assert.is(back.status, 201)
    assert.is((await becomes(server, 'debian?version=3', 'ready')).name, 'debian')
    assert.equal([...longhorn.images.keys()], ['debian', 'debian-2'])
    const { text } = await ask(server, 'GET', '/v1/backing-images/debian/manifest?version=2')
    assert.match(text, /name: debian-2\n/)
  }),
)

registering(
  'older versions are known only where a label keeps them, and none that a label excludes',
  clustered(async ({ longhorn, open }) => {
    const quiet = await open({}, { register: 'off' })
    await put(quiet, 'debian', rawImage())
    await put(quiet, 'debian?label=longhorn=keep', odd)
    await put(quiet, 'debian', numbered(5))
    await put(quiet, 'secret?label=longhorn=off', numbered(6))
    await quiet.close()
    assert.is(longhorn.count('POST', /./), 0)
    const server = await open()
    await becomes(server, 'debian', 'ready')
    await becomes(server, 'debian?version=2', 'ready')
    assert.equal([...longhorn.images.keys()].toSorted(), ['debian-2', 'debian-3'])
    assert.equal((await knownOf(server, 'debian?version=1')).longhorn, {})
    assert.equal((await knownOf(server, 'secret')).longhorn, {})
  }),
)

registering(
  'with LONGHORN_REGISTER=labelled only what is labelled is known',
  clustered(async ({ longhorn, open }) => {
    const server = await open({}, { register: 'labelled' })
    await put(server, 'plain', rawImage())
    await put(server, 'asked?label=longhorn=register', odd)
    await becomes(server, 'asked', 'ready')
    assert.equal([...longhorn.images.keys()], ['asked'])
  }),
)

registering(
  'an image of somebody else is left as it is, and told of as a conflict',
  clustered(async ({ longhorn, open }) => {
    const foreign = {
      name: 'debian',
      sourceType: 'download',
      parameters: { url: 'http://a.test/b' },
    }
    await fetch(`${longhorn.url}/v1/backingimages`, {
      method: 'POST',
      body: JSON.stringify(foreign),
    })
    const server = await open()
    await put(server, 'debian', rawImage())
    const { name } = await becomes(server, 'debian', 'ready')
    assert.match(name, /^debian-[0-9a-f]{8}$/)
    assert.is(longhorn.images.get('debian')?.parameters['url'], 'http://a.test/b')
    // Also where it comes in the place of ours.
    const theirs = longhorn.images.get('debian')
    const ours = longhorn.images.get(name)
    assert.ok(theirs && ours)
    longhorn.images.set(name, { ...theirs, name })
    longhorn.changed()
    const status = await becomes(server, 'debian', 'conflict')
    assert.match(status.message, /not from here: it stays as it is/)
    assert.is((await ask(server, 'DELETE', '/v1/backing-images/debian')).status, 204)
    assert.ok(longhorn.images.has(name))
    assert.is(longhorn.count('DELETE', /./), 0)
  }),
)

registering(
  'what was deleted in Longhorn by hand comes again under its name',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await put(server, 'debian', rawImage())
    await becomes(server, 'debian', 'ready')
    longhorn.images.delete('debian')
    longhorn.changed()
    await eventually(() => longhorn.images.has('debian'))
    assert.is((await becomes(server, 'debian', 'ready')).name, 'debian')
  }),
)

registering(
  'of several servers one registers, each image once; another goes on when it stops',
  clustered(async ({ longhorn, open }) => {
    const servers = [await open(), await open(), await open()]
    const [first, second] = servers as [Serving, Serving]
    for (let at = 0; at < 6; at += 1) {
      await put(servers[at % 3] as Serving, `image-${at}`, numbered(at))
    }
    for (let at = 0; at < 6; at += 1) await becomes(second, `image-${at}`, 'ready')
    assert.is(longhorn.count('POST', /backingimages$/), 6)
    await first.close()
    await put(second, 'later', numbered(99))
    await becomes(second, 'later', 'ready')
    assert.is(longhorn.count('POST', /backingimages$/), 7)
  }),
)

registering(
  'two clusters that share a store each have their own state',
  clustered(async ({ longhorn, open }) => {
    const one = await open()
    const two = await open({}, { cluster: 'two', register: 'labelled' })
    await put(one, 'debian', rawImage())
    await becomes(one, 'debian', 'ready')
    assert.equal(Object.keys((await knownOf(one, 'debian')).longhorn), ['one'])
    await becomes(two, 'debian', 'ready')
    assert.is(longhorn.images.size, 1)
  }),
)

registering(
  'what was imported from there is not registered once more, but when it is gone there',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    longhorn.images.set('theirs', readyImage('theirs', rawImage()))
    const body = { name: 'ours', sourceType: 'longhorn', parameters: { 'backing-image': 'theirs' } }
    const asked = await ask(server, 'POST', '/v1/backing-images', {
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })
    assert.is(asked.status, 202)
    const { name, message } = await becomes(server, 'ours', 'ready')
    assert.equal([name, message], ['theirs', 'It was imported from there.'])
    assert.equal([...longhorn.images.keys()], ['theirs'])
    longhorn.images.delete('theirs')
    longhorn.changed()
    await eventually(() => longhorn.images.has('ours'))
    assert.is((await becomes(server, 'ours', 'ready')).name, 'ours')
  }),
)

registering.run()
