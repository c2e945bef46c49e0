// What is told of the images that Longhorn has, over its stand-in.

import { type StandInFault, LonghornStandIn } from '@backing-image/longhorn/testing'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { LonghornImagesView } from './longhorn-images.ts'
import { ask, eventually, serving } from './testing/serving.ts'

const longhornImages = suite('longhorn images')
const path = '/v1/longhorn/backing-images'
const publicUrl = 'http://images.test/store/'

/** Asks for the list of a Longhorn that `prepare` has filled. */
async function listOf(
  prepare: (standIn: LonghornStandIn) => Promise<void>,
): Promise<{ status: number; text: string; health: string }> {
  const standIn = await LonghornStandIn.start()
  const longhorn = { apiUrl: standIn.url, authToken: undefined, register: 'off', cluster: 'test' }
  const server = await serving({ publicUrl, longhorn: { ...longhorn, register: 'off' } })
  try {
    await prepare(standIn)
    const { status, text } = await ask(server, 'GET', path)
    return { status, text, health: server.health.report().status }
  } finally {
    await server.close()
    await standIn.stop()
  }
}

async function make(standIn: LonghornStandIn, body: object): Promise<void> {
  const answer = await fetch(`${standIn.url}/v1/backingimages`, {
    method: 'POST',
    body: JSON.stringify(body),
  })
  assert.is(answer.status, 200, await answer.text())
}

longhornImages(
  'each is told with its copies, and whether it came from here; not a temporary one',
  async () => {
    const { status, text } = await listOf(async (standIn) => {
      standIn.volumes.set('disk', Buffer.alloc(1024, 'a'))
      const parameters = { 'volume-name': 'disk', 'export-type': 'raw' }
      await make(standIn, { name: 'exported', sourceType: 'export-from-volume', parameters })
      const temporary = {
        name: 'bim-export-1a2b3c4d',
        sourceType: 'export-from-volume',
        parameters,
      }
      await make(standIn, temporary)
      const url = 'http://images.test/store/files/a-1a2b3c4d/-/a-1.img'
      await make(standIn, { name: 'debian', sourceType: 'download', parameters: { url } })
      const other = 'http://images.test/other/files/a-1a2b3c4d/-/a-1.img'
      await make(standIn, { name: 'foreign', sourceType: 'download', parameters: { url: other } })
      await eventually(() => standIn.images.get('exported')?.size === 1024)
      await eventually(() => standIn.downloads.length === 2)
    })
    assert.is(status, 200)
    const { data } = JSON.parse(text) as LonghornImagesView
    assert.equal(
      data.map(({ name, state, isOurs }) => [name, state, isOurs]),
      [
        ['debian', 'failed', true],
        ['exported', 'ready', false],
        ['foreign', 'failed', false],
      ],
    )
    const [failed, exported] = data
    assert.match(failed?.disks['disk-1']?.message ?? '', 'ECONNREFUSED')
    assert.equal([exported?.size, exported?.currentChecksum.length], [1024, 128])
    assert.equal(exported?.disks['disk-1'], { state: 'ready', progress: 100, message: '' })
  },
)

const faults: [string, StandInFault, number, RegExp][] = [
  ['is broken', { isBroken: true }, 503, /LONGHORN_API_URL.*was not reached/],
  ['answers with a page', { status: 200, body: '<html>' }, 503, /does not answer as the Longhorn/],
  [
    'refuses',
    { status: 503, type: 'application/json', body: '{"message":"it is starting"}' },
    503,
    /it is starting/,
  ],
]

for (const [what, fault, expected, words] of faults) {
  longhornImages(`a Longhorn that ${what} is told as such, and not as the storage`, async () => {
    const { status, text, health } = await listOf(async (standIn) => {
      standIn.fault = () => fault
    })
    assert.is(status, expected)
    assert.match(text, words)
    assert.is(health, 'ok')
  })
}

longhornImages('without a Longhorn the variable is named', async () => {
  const server = await serving()
  try {
    const { status, text } = await ask(server, 'GET', path)
    assert.is(status, 412)
    assert.match(text, 'LONGHORN_API_URL')
  } finally {
    await server.close()
  }
})

longhornImages.run()
