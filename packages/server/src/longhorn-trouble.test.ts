// Trouble on the way to Longhorn: it is away, refuses, is behind, or can not reach this server.

import { rawImage } from '@backing-image/core/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { becomes, clustered } from './testing/longhorn.ts'
import { ask, eventually, put } from './testing/serving.ts'

const registering = suite('longhorn: trouble')
const odd = Buffer.concat([rawImage(), Buffer.from('odd')])

/** Another one for each number. */
function numbered(count: number): Buffer {
  return rawImage(2 ** 20 + 512 * count)
}

registering(
  'after PUBLIC_URL has changed what Longhorn has is still ours; what is made anew has the new one',
  clustered(async ({ longhorn, open }) => {
    const before = await open()
    await put(before, 'debian', rawImage())
    await becomes(before, 'debian', 'ready')
    const made = longhorn.images.get('debian')
    await before.close()
    const server = await open()
    assert.is((await becomes(server, 'debian', 'ready')).name, 'debian')
    longhorn.images.delete('debian')
    longhorn.changed()
    await eventually(() => longhorn.images.has('debian'))
    assert.not.equal(longhorn.images.get('debian')?.parameters, made?.parameters)
    assert.is((await becomes(server, 'debian', 'ready')).name, 'debian')
    // A backup of Longhorn brings back what was there.
    if (made) longhorn.images.set('debian', made)
    longhorn.changed()
    await becomes(server, 'debian', 'ready')
    assert.is((await ask(server, 'DELETE', '/v1/backing-images/debian')).status, 204)
    assert.is(longhorn.images.size, 0)
  }),
)

registering(
  'one image that can not be made does not keep the others from it',
  clustered(async ({ longhorn, open }) => {
    const server = await open({}, { register: 'off' })
    for (const name of ['image-1', 'image-2', 'image-3']) await put(server, name, numbered(7))
    await server.close()
    let isFirst = true
    longhorn.fault = ({ method }) => {
      if (method !== 'POST' || !isFirst) return undefined
      isFirst = false
      return { status: 502, body: 'bad gateway' }
    }
    const next = await open()
    await becomes(next, 'image-2', 'ready')
    await becomes(next, 'image-3', 'ready')
    assert.is((await becomes(next, 'image-1', 'refused')).name, '')
  }),
)

registering(
  'without PUBLIC_URL, or a key where tokens are set, nothing is registered, and /ready names it',
  clustered(async ({ longhorn, open }) => {
    const token = 'a-token-of-some-length'
    for (const [config, variable] of [
      [{ publicUrl: undefined }, 'PUBLIC_URL'],
      [{ publicUrl: 'http://127.0.0.1:8080' }, 'PUBLIC_URL'],
      [{ apiToken: token }, 'URL_SIGNING_KEY'],
    ] as const) {
      const server = await open(config)
      const headers = { authorization: `Bearer ${token}` }
      await put(
        server,
        `debian-${variable.toLowerCase()}`.replaceAll('_', '-'),
        odd,
        headers,
      ).catch(() => {})
      await eventually(async () => {
        const { text } = await ask(server, 'GET', '/ready', { headers })
        const { longhorn: told } = JSON.parse(text) as { longhorn: Record<string, string> }
        return told['status'] === 'ok' && (told['message'] ?? '').includes(variable)
      })
      await server.close()
    }
    assert.is(longhorn.count('POST', /./), 0)
  }),
)

registering(
  'a Longhorn that is away, answers a page or breaks connections stops nothing, and is told once',
  clustered(async ({ longhorn, open }) => {
    longhorn.fault = () => ({ status: 200, body: '<html>Longhorn</html>' })
    const server = await open()
    await put(server, 'debian', rawImage())
    await eventually(async () => {
      const { text } = await ask(server, 'GET', '/metrics')
      return /^backing_image_manager_longhorn_up 0$/m.test(text)
    })
    assert.is((await ask(server, 'GET', '/ready')).status, 200)
    longhorn.fault = () => ({ isBroken: true })
    await eventually(() => longhorn.requests.length > 5)
    longhorn.fault = () => undefined
    await becomes(server, 'debian', 'ready')
    const told = server.lines.filter(({ msg }) => /Longhorn (does not )?answer/.test(String(msg)))
    assert.equal(
      told.map(({ msg }) => msg),
      ['Longhorn does not answer', 'Longhorn answers'],
    )
  }),
)

registering(
  'what Longhorn refuses is told in its words, and tried again later',
  clustered(async ({ longhorn, open }) => {
    const server = await open()
    await put(server, 'fast?dataEngine=v2', rawImage())
    const { message } = await becomes(server, 'fast', 'refused')
    assert.match(message, /v2 backing image is not supported/)
    assert.match(message, /DataVolume/)
    assert.is(longhorn.count('POST', /backingimages$/), 1)
  }),
)

registering(
  'a look that is older than what was made makes no second image, and no trouble',
  clustered(async ({ longhorn, open }) => {
    longhorn.isPushing = false
    const empty = JSON.stringify({ type: 'collection', data: [] })
    longhorn.fault = ({ method, path }) =>
      method === 'GET' && path.endsWith('/backingimages')
        ? { status: 200, type: 'application/json', body: empty }
        : undefined
    const server = await open()
    await put(server, 'debian', rawImage())
    await eventually(() => longhorn.count('POST', /backingimages$/) > 1)
    longhorn.fault = () => undefined
    await becomes(server, 'debian', 'ready')
    assert.equal([...longhorn.images.keys()], ['debian'])
  }),
)

registering.run()
