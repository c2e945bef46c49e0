// The client against a stand-in for Longhorn's API: what it asks, and what it makes of odd answers.

import { gunzipSync } from 'node:zlib'
import { isImageError } from '@backing-image/core'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { LonghornClient, type LonghornOptions, type NewLonghornImage } from './client.ts'
import { LonghornError } from './failure.ts'
import { overallState } from './resource.ts'
import { LonghornStandIn, type StandInFault } from './testing/stand-in.ts'

const asking = suite('the client of Longhorn')

interface Rig {
  standIn: LonghornStandIn
  client: LonghornClient
}

function facing(
  claim: (rig: Rig) => Promise<void>,
  options: Partial<LonghornOptions> = {},
): () => Promise<void> {
  return async () => {
    const standIn = await LonghornStandIn.start()
    const client = new LonghornClient({ url: standIn.url, ...options })
    try {
      await claim({ standIn, client })
    } finally {
      client.close()
      await standIn.stop()
    }
  }
}

/** It waits for its bytes, and is otherwise whole. */
const waiting: NewLonghornImage = {
  name: 'jammy',
  sourceType: 'upload',
  parameters: {},
  expectedChecksum: 'ab'.repeat(64),
}

async function failure(work: Promise<unknown>): Promise<LonghornError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof LonghornError) return error
  throw new Error(`a LonghornError was expected, found ${String(error)}`, { cause: error })
}

asking(
  'an image is made, shown, listed and deleted',
  facing(async ({ standIn, client }) => {
    const made = await client.create({ ...waiting, minNumberOfCopies: 2, nodeSelector: ['ssd'] })
    assert.equal([made.name, made.minNumberOfCopies, made.nodeSelector], ['jammy', 2, ['ssd']])
    assert.equal(await client.get('jammy'), made)
    assert.equal(await client.list(), [made])
    assert.is(overallState(made), 'pending')
    await client.delete('jammy')
    assert.equal(await client.list(), [])
    assert.is(standIn.images.size, 0)
  }),
)

for (const suffix of ['', '/', '/v1', '/v1/']) {
  asking(`the URL of the API may end in ${JSON.stringify(suffix)}`, async () => {
    const standIn = await LonghornStandIn.start()
    const client = new LonghornClient({ url: standIn.url + suffix })
    assert.equal(await client.list(), [])
    assert.is(client.url, standIn.url)
    client.close()
    await standIn.stop()
  })
}

asking(
  'the token goes along, and no sign of a browser',
  facing(
    async ({ standIn, client }) => {
      await client.list()
      const [seen] = standIn.requests
      assert.is(seen?.headers.authorization, 'Bearer s3cr3t')
      assert.is(seen?.headers.accept, 'application/json')
      assert.not.match(seen?.headers['user-agent'] ?? '', 'Mozilla')
    },
    { token: 's3cr3t' },
  ),
)

asking(
  'Longhorn changes a name, and says so',
  facing(async ({ client }) => {
    const made = await client.create({ ...waiting, name: `Jammy-${'x'.repeat(50)}` })
    assert.is(made.name.length, 40)
    assert.match(made.name, /^jammy-x+-[0-9a-f]{8}$/)
  }),
)

asking(
  'what is not there is not_found',
  facing(async ({ client }) => {
    for (const work of [client.get('none'), client.delete('none'), client.cleanup('none', [])]) {
      const error = await failure(work)
      assert.equal([error.code, error.status], ['not_found', 404])
      assert.match(error.message, /"none" not found/)
    }
  }),
)

const refusals: [string, Partial<NewLonghornImage>, RegExp][] = [
  ['a wrong checksum', { expectedChecksum: 'abc' }, /invalid checksum/],
  ['an engine of old', { dataEngine: 'v2' }, /v2 backing image is not supported/],
  [
    'a loopback address',
    { sourceType: 'download', parameters: { url: 'http://127.0.0.1/x' } },
    /loopback/,
  ],
]
for (const [what, change, words] of refusals) {
  asking(
    `${what} is refused in the words of Longhorn`,
    facing(async ({ client }) => {
      const error = await failure(client.create({ ...waiting, ...change }))
      assert.equal(
        [error.code, error.status, error.isTransient],
        ['failed_precondition', 500, false],
      )
      assert.match(error.words ?? '', words)
      assert.match(error.message, words)
    }),
  )
}

asking(
  'a delete of what is in use is refused, and an ask for the last copy',
  facing(async ({ standIn, client }) => {
    await client.create(waiting)
    standIn.inUse.add('jammy')
    assert.match((await failure(client.delete('jammy'))).words ?? '', /still used by replicas/)
    assert.match((await failure(client.cleanup('jammy', ['disk-1']))).words ?? '', /ready copy/)
  }),
)

asking(
  'a copy is dropped on the disks that are named',
  facing(async ({ standIn, client }) => {
    standIn.volumes.set('data', Buffer.alloc(512))
    const parameters = { 'volume-name': 'data', 'export-type': 'raw' }
    const asked = { ...waiting, sourceType: 'export-from-volume', parameters } as const
    await client.create(asked)
    while (overallState(await client.get('jammy')) !== 'ready') await new Promise(setImmediate)
    const left = await client.cleanup('jammy', ['disk-1', 'disk-3'])
    assert.equal(Object.keys(left.disks), ['disk-2'])
    const chunks: Buffer[] = []
    for await (const chunk of await client.download('jammy')) chunks.push(chunk as Buffer)
    assert.equal(gunzipSync(Buffer.concat(chunks)), Buffer.alloc(512))
  }),
)

const oddities: [string, StandInFault, RegExp][] = [
  ['a page', { status: 200, body: '<html>hello</html>' }, /text\/html.*LONGHORN_API_URL/],
  ['a page that is an error', { status: 502, body: '<html>' }, /answered 502 without a reason/],
  ['another document', { status: 200, type: 'application/json', body: '{"data":1}' }, /list/],
  ['nothing', { status: 200, type: 'application/json', body: '' }, /application\/json/],
  ['a broken connection', { isBroken: true }, /not reached.*ECONNRESET|socket hang up/],
  ['no answer', { delayMs: 5000, isBroken: true }, /nothing came for 0.2 s/],
]
for (const [what, fault, words] of oddities) {
  asking(
    `${what} is no answer, and may be better later`,
    facing(
      async ({ standIn, client }) => {
        standIn.fault = () => fault
        const error = await failure(client.list())
        assert.ok(isImageError(error, 'unavailable') && error.isTransient, error.message)
        assert.match(error.message, words)
      },
      { idleTimeoutMs: 200 },
    ),
  )
}

asking('where nobody listens the variable is named', async () => {
  const standIn = await LonghornStandIn.start()
  const { url } = standIn
  await standIn.stop()
  const error = await failure(new LonghornClient({ url }).list())
  assert.match(error.message, /LONGHORN_API_URL.*nobody listens there \(ECONNREFUSED\)/)
})

asking(
  'who calls off gets the own reason',
  facing(async ({ standIn, client }) => {
    standIn.fault = () => ({ delayMs: 5000, isBroken: true })
    const reason = new Error('called off')
    const stop = new AbortController()
    const work = client.list(stop.signal).catch((error: unknown) => error)
    while (standIn.requests.length === 0) await new Promise(setImmediate)
    stop.abort(reason)
    assert.is(await work, reason)
  }),
)

asking.run()
