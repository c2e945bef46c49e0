// Deleting what Longhorn knows: refused while it needs it, else gone in both; and dropping its copies.

import { bytesOf } from '@backing-image/core'
import { rawImage } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { becomes, clustered, knownOf } from './testing/longhorn.ts'
import { type Serving, ask, askJson, eventually, put } from './testing/serving.ts'

const removing = suite('removal with Longhorn')
const debian = '/v1/backing-images/debian'

async function registered(server: Serving): Promise<void> {
  await put(server, 'debian', rawImage())
  await becomes(server, 'debian', 'ready')
}

removing(
  'what a volume uses is not deleted, and Longhorn says why; later both go',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    longhorn.inUse.add('debian')
    const { status, json } = await askJson(server, 'DELETE', debian)
    assert.is(status, 409)
    assert.is(json.code, 'in_use')
    assert.match(json.detail, /is still used by replicas/)
    assert.match(json.detail, /\?force=true/)
    assert.is((await ask(server, 'GET', `${debian}/download`)).status, 200)
    assert.is((await knownOf(server, 'debian')).longhorn['one']?.state, 'ready')
    longhorn.inUse.clear()
    assert.is((await ask(server, 'DELETE', debian)).status, 204)
    assert.is(longhorn.images.size, 0)
    assert.equal(await server.keys('.catalog/'), [])
    assert.not.ok((await server.keys('.longhorn/')).includes('.longhorn/one/debian.json'))
    // Its name is free again.
    await registered(server)
    assert.is(longhorn.images.size, 1)
  }),
)

removing(
  'with force Longhorn is not asked, keeps its copy, and its name is not given away',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    longhorn.inUse.add('debian')
    assert.is((await ask(server, 'DELETE', `${debian}?force=perhaps`)).status, 400)
    assert.is((await ask(server, 'DELETE', `${debian}?force=true`)).status, 204)
    assert.is(longhorn.count('DELETE', /./), 0)
    assert.ok(longhorn.images.has('debian'))
    await put(server, 'debian', rawImage(2 ** 20 + 512))
    assert.match((await becomes(server, 'debian', 'ready')).name, /^debian-[0-9a-f]{8}$/)
    longhorn.images.delete('debian')
    longhorn.changed()
    await eventually(async () => !(await server.keys()).includes('.longhorn/one/debian.json'))
  }),
)

removing(
  'while Longhorn is away nothing is deleted that it knows; what it does not know is',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    await put(server, 'other?label=longhorn=off', rawImage())
    longhorn.fault = () => ({ isBroken: true })
    const { status, json } = await askJson(server, 'DELETE', debian)
    assert.is(status, 503)
    assert.match(json.detail, /was not reached.*\?force=true/)
    assert.is((await ask(server, 'GET', debian)).status, 200)
    assert.is((await ask(server, 'DELETE', '/v1/backing-images/other')).status, 204)
    longhorn.fault = () => undefined
    assert.is((await ask(server, 'DELETE', debian)).status, 204)
    assert.is(longhorn.images.size, 0)
  }),
)

removing(
  'what several clusters know goes when each has let it go',
  clustered(async ({ longhorn, open }) => {
    const one = await open()
    const two = await open({}, { cluster: 'two' })
    const none = await open({ longhorn: undefined })
    await registered(one)
    await becomes(two, 'debian', 'ready', 'two')
    const others = await askJson(none, 'DELETE', debian)
    assert.is(others.status, 409)
    assert.match(others.json.detail, /of one, two knows it/)
    const { status, json } = await askJson(one, 'DELETE', debian)
    assert.is(status, 409)
    assert.match(json.detail, /of two knows it, too/)
    assert.is((await ask(one, 'GET', debian)).status, 200)
    // Nobody makes it known again meanwhile: its cluster has let it go.
    assert.is((await ask(two, 'DELETE', debian)).status, 204)
    assert.is((await ask(one, 'GET', debian)).status, 404)
    assert.is(longhorn.images.size, 0)
  }),
)

removing(
  'a version that a rollback still points at stays known',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    await put(server, 'debian', rawImage(2 ** 20 + 512))
    await askJson(server, 'POST', `${debian}/rollback`, { body: '{"version":"1"}' })
    assert.is((await ask(server, 'DELETE', `${debian}?version=1`)).status, 204)
    assert.ok(longhorn.images.has('debian'))
    assert.is((await becomes(server, 'debian?version=3', 'ready')).name, 'debian')
  }),
)

removing(
  'of several versions all go or none: what was let go comes back',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    for (const count of [1, 2]) {
      await put(server, 'debian', rawImage(2 ** 20 + 512 * count))
      await becomes(server, 'debian', 'ready')
    }
    longhorn.inUse.add('debian')
    assert.is((await ask(server, 'DELETE', debian)).status, 409)
    await eventually(() => longhorn.images.size === 3)
    assert.equal([...longhorn.images.keys()].toSorted(), ['debian', 'debian-2', 'debian-3'])
    for (const version of [1, 2, 3]) await becomes(server, `debian?version=${version}`, 'ready')
    longhorn.inUse.clear()
    assert.is((await ask(server, 'DELETE', debian)).status, 204)
    assert.is(longhorn.images.size, 0)
  }),
)

removing(
  'what answers a delete in the place of Longhorn is not believed',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    longhorn.fault = ({ method }) =>
      method === 'DELETE' ? { status: 200, body: '<html>login' } : undefined
    const { status, json } = await askJson(server, 'DELETE', debian)
    assert.is(status, 503)
    assert.match(json.detail, /still has it/)
    longhorn.fault = ({ method }) =>
      method === 'GET'
        ? { status: 500, type: 'application/json', body: '{"message":"boom"}' }
        : undefined
    assert.is((await ask(server, 'DELETE', debian)).status, 503)
    longhorn.fault = () => undefined
    assert.ok(longhorn.images.has('debian'))
    assert.is((await becomes(server, 'debian', 'ready')).name, 'debian')
  }),
)

for (const [what, body] of [
  ['that was cut off', '{"layout":2,"clus'],
  ['that is empty', ''],
  ['that is too large', 'x'.repeat(17 * 2 ** 20)],
] as const) {
  removing(
    `a registration ${what} is made anew, and lets nothing go that is in use`,
    clustered(async ({ longhorn, open }) => {
      const server = await open()
      await registered(server)
      longhorn.inUse.add('debian')
      await server.backend.put('.longhorn/one/debian.json', bytesOf(body))
      const { status } = await ask(server, 'DELETE', debian)
      assert.ok(status === 409 || status === 500, `${status}`)
      await eventually(async () => (await ask(server, 'DELETE', debian)).status === 409)
      await becomes(server, 'debian', 'ready')
      assert.is((await ask(server, 'GET', debian)).status, 200)
    }),
  )
}

removing(
  'what Longhorn has from here is asked for, though its registration is gone',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    longhorn.inUse.add('debian')
    await server.backend.delete('.longhorn/one/debian.json')
    assert.is((await ask(server, 'DELETE', debian)).status, 409)
    assert.is((await ask(server, 'GET', debian)).status, 200)
  }),
)

removing(
  'copies are dropped on the disks that are named, but never the last ready one',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await registered(server)
    const copy = { dataEngine: 'v1', state: 'ready', progress: 100, message: '' }
    const image = longhorn.images.get('debian')
    if (image) image.disks = { 'disk-1': copy, 'disk-2': copy, 'disk-3': copy }
    longhorn.changed()
    const cleanup = (disks: unknown) =>
      askJson(server, 'POST', `${debian}/cleanup`, { body: JSON.stringify({ disks }) })
    assert.is((await cleanup(['disk-9'])).status, 400)
    assert.is((await cleanup([])).status, 400)
    assert.match((await cleanup(['disk-9'])).json.detail, /they are on disk-1, disk-2, disk-3/)
    assert.is((await cleanup(['disk-1', 'disk-2', 'disk-3'])).status, 412)
    assert.is((await cleanup(['disk-1', 'disk-2'])).status, 200)
    assert.equal(Object.keys(image?.disks ?? {}), ['disk-3'])
    await eventually(async () => {
      const { disks = {} } = (await knownOf(server, 'debian')).longhorn['one'] ?? {}
      return Object.keys(disks).join() === 'disk-3'
    })
    assert.is((await cleanup(['disk-3'])).status, 412)
  }),
)

removing(
  'copies are not dropped of what Longhorn does not know, or where there is no Longhorn',
  clustered(async ({ open }) => {
    const server = await open({}, { register: 'off' })
    await put(server, 'debian', rawImage())
    const body = '{"disks":["disk-1"]}'
    const unknown = await askJson(server, 'POST', `${debian}/cleanup`, { body })
    assert.is(unknown.status, 412)
    assert.match(unknown.json.detail, /debian 1 was not registered in Longhorn/)
    const none = await open({ longhorn: undefined })
    const { status, json } = await askJson(none, 'POST', `${debian}/cleanup`, { body })
    assert.is(status, 412)
    assert.match(json.detail, /LONGHORN_API_URL is not set/)
  }),
)

removing.run()
